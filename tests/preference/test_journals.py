"""The votes of the data folder are an external input of `human_rankings`, in the version that its identity has."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from llm_assets.artifacts import Graph, Store, Workspace, materialize
from llm_assets.artifacts.errors import LeftOut
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.tables import read_table
from llm_assets.cli.takedown_purge import remove_rankings
from llm_assets.compute import LocalEngine
from llm_assets.preference.human_rankings import HUMAN_RANKINGS, waiting_votes
from llm_assets.preference.journals import journals, journals_of_versions, unread_votes, vote_rows
from llm_assets.preference.open_prompts import PreferenceError
from llm_assets.preference.ranking_files import (
    ARENA,
    PairQueue,
    add_line,
    add_ranking,
    rankings_file,
    replace_lines,
)
from llm_assets.preference.response_pairs import pair_digest
from llm_assets.recipes import Recipe
from llm_assets.recipes.preference import HumanRankings, RankingFile, SimulatedLabeller
from llm_assets.settings import load_settings
from tests.support.stand_ins import build_all, stand_in

NAME = HUMAN_RANKINGS.name
MODELS = {"first": {"name": "one", "identity": "a1"}, "second": {"name": "two", "identity": "b2"}}


@pytest.fixture
def data():
    return load_settings().data


def pair(number):
    return {"question": f"Who is {number}?", "first": f"A{number}.", "second": f"B{number}."}


def vote(data, labeller, number, answer="first", folder="rankings"):
    return add_ranking(rankings_file(data, labeller, folder), pair(number), answer, labeller, MODELS)


def workspace_of(data, **settings):
    recipe = Recipe(name="voted", crawls={}, human_rankings=HumanRankings(**settings), leave_out=("response_pairs",))
    return Workspace(
        recipe, Store(data / "artifacts"), Graph([stand_in("response_pairs"), HUMAN_RANKINGS]), LocalEngine(1)
    )


def build(workspace):
    return materialize(HUMAN_RANKINGS, None, workspace).artifact


def test_a_data_folder_without_votes_changes_no_identity(data):
    settings = HumanRankings(votes=True)
    assert HUMAN_RANKINGS.external_inputs(settings) == {}
    vote(data, "ann", 1)
    assert HUMAN_RANKINGS.external_inputs(settings).keys() == {"votes/ann"}
    assert HUMAN_RANKINGS.external_inputs(settings.replace(votes=False)) == {}


def test_a_recipe_without_rankings_counts_votes_only_if_it_says_so(data):
    vote(data, "ann", 1)
    with pytest.raises(LeftOut, match="votes=True"):
        build(workspace_of(data))
    assert build(workspace_of(data, votes=True)).record.stats["by_people"] == 1


def test_votes_are_rankings_with_labeller_time_and_models(data):
    rows = [vote(data, "ann", 1), vote(data, "bob", 1, "both_bad"), vote(data, "ann", 2, "second", ARENA)]
    add_line(rankings_file(data, "bob"), {"question": "no vote", "preferred": "first"})
    artifact = build(workspace_of(data, votes=True))
    rankings = read_table(artifact.table("rankings")).sort("labeller", "question")
    assert rankings.select("labeller", "preferred", "source").rows() == [
        ("ann", "first", "votes/ann"),
        ("ann", "second", "arena/ann"),
        ("bob", "tie", "votes/bob"),
    ]
    votes = read_table(artifact.table("votes"))
    assert votes.filter(pl.col("labeller") == "bob")["vote"].to_list() == ["both_bad"]
    assert set(votes["at"]) == {row["at"] for row in rows}
    names = votes.select("first_model", "first_identity", "second_model", "second_identity").unique().rows()
    assert names == [("one", "a1", "two", "b2")]
    (winner, loser) = read_table(artifact.table("arena_ratings")).iter_rows(named=True)
    assert (winner["model"], winner["identity"], winner["wins"]) == ("two", "b2", 1) and loser["losses"] == 1
    assert read_table(artifact.table("rejects")).select("file", "line").rows() == [("votes/bob", 2)]


def test_a_vote_makes_the_artifact_stale_and_is_in_the_next_version(data):
    vote(data, "ann", 1)
    workspace = workspace_of(data, votes=True)
    first = build(workspace)
    vote(data, "ann", 2)
    vote(data, "bob", 1, folder=ARENA)
    assert unread_votes(journals(data), first.record.fields["inputs"]) == 2
    (explanation,) = explain(workspace, [(NAME, None)])
    assert explanation.state == "build" and "inputs.votes/ann" in explanation.text()
    second = build(workspace)
    assert second.record.rows["votes"] == 3 and second.data_version != first.data_version
    assert unread_votes(journals(data), second.record.fields["inputs"]) == 0


def test_of_several_votes_on_a_pair_one_waits_for_the_next_version(data):
    workspace = workspace_of(data, votes=True)
    for preferred in ("first", "second", "first"):
        vote(data, "ann", 1, preferred)
    vote(data, "ann", 1, folder=ARENA)
    vote(data, "bob", 1)
    rankings_file(data, "bob").open("a").write('{"question": "no vote"}\n')
    assert waiting_votes(workspace.recipe.human_rankings, data, None) == 2
    first = build(workspace)
    assert first.record.stats["by_people"] == 2
    vote(data, "ann", 1, "second")
    vote(data, "ann", 2)
    vote(data, "ann", 2, "second")
    assert unread_votes(journals(data), first.record.fields["inputs"]) == 2


def test_votes_in_a_file_that_the_recipe_names_wait_for_the_next_version_too(data):
    for number in range(3):
        vote(data, "ann", number)
    vote(data, "bob", 1)
    file = RankingFile(path=str(rankings_file(data, "ann")), name="ann")
    workspace = workspace_of(data, files=(file,))
    settings = workspace.recipe.human_rankings
    assert waiting_votes(settings, data, None) == 4
    first = build(workspace)
    assert waiting_votes(settings, data, first) == 0
    vote(data, "ann", 9)
    vote(data, "ann", 2, "second")  # another opinion on a pair that is in the version
    vote(data, "bob", 2)
    assert waiting_votes(settings, data, first) == 3
    assert waiting_votes(settings.replace(votes=False), data, first) == 2
    assert waiting_votes(settings, data, build(workspace)) == 0


def test_a_vote_during_a_run_takes_no_input_from_the_stages_downstream(data):
    reader = replace(stand_in("reader"), inputs=(NAME,))
    workspace = workspace_of(data, votes=True)
    workspace.graph = Graph([stand_in("response_pairs"), HUMAN_RANKINGS, reader])
    vote(data, "ann", 1)
    first = build(workspace)
    vote(data, "bob", 1)  # a labeller whose first vote this is
    trained = materialize(reader, None, workspace).artifact
    assert trained.record.fields["inputs"] == {NAME: first.data_version}
    vote(data, "ann", 2)
    assert workspace.resolver().artifact("reader", None).record.identity == trained.record.identity
    second = build(workspace)
    assert workspace.resolver().resolve("reader", None).identity.inputs == {NAME: second.data_version}


def test_votes_that_no_longer_count_are_in_no_input_of_the_stages_downstream(data):
    reader = replace(stand_in("reader"), inputs=(NAME,))
    file = data / "own.jsonl"
    add_ranking(file, pair(9), "first", "zoe")
    files = (RankingFile(path=str(file), name="own"),)
    counting, without = workspace_of(data, files=files), workspace_of(data, files=files, votes=False)
    for workspace in (counting, without):
        workspace.graph = Graph([stand_in("response_pairs"), HUMAN_RANKINGS, reader])
    vote(data, "ann", 1)
    build(counting)
    trained = materialize(reader, None, counting).artifact
    vote(data, "ann", 2)
    assert counting.resolver().artifact("reader", None).record.identity == trained.record.identity
    assert without.resolver().resolve("reader", None).missing == [NAME]


def test_of_two_votes_of_a_labeller_on_a_pair_the_later_one_counts_wherever_it_is(data):
    for row, time in (
        (vote(data, "ann", 1, "second"), "2026-01-05T09:00:00+00:00"),
        (vote(data, "bob", 1, "tie"), "2099-01-01T00:00:00+01:00"),
    ):
        add_line(rankings_file(data, row["labeller"], ARENA), {**row, "preferred": "first", "at": time})
    file = data / "own.jsonl"  # without times: what comes later in the recipe and in the file counts
    lines = [{**pair(2), "preferred": preferred, "labeller": "zoe"} for preferred in ("first", "tie")]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    artifact = build(workspace_of(data, votes=True, files=(RankingFile(path=str(file), name="own"),)))
    rankings = read_table(artifact.table("rankings")).sort("labeller").select("labeller", "preferred")
    assert rankings.rows() == [("ann", "second"), ("bob", "first"), ("zoe", "tie")]
    assert artifact.record.stats["replaced"] == 3


def test_in_one_file_the_later_line_counts_whatever_the_clock_said(data):
    add_line(
        rankings_file(data, "eve"), {**vote(data, "ann", 9), **pair(1), "labeller": "eve", "at": "2099-01-01T00:00:00Z"}
    )
    vote(data, "eve", 1, "second")
    rankings = read_table(build(workspace_of(data, votes=True)).table("rankings"))
    assert rankings.filter(pl.col("labeller") == "eve")["preferred"].to_list() == ["second"]


def test_nothing_waits_right_after_a_build_though_a_vote_elsewhere_overrides_a_named_file(data):
    path = rankings_file(data, "bob")
    add_line(path, {**vote(data, "bob", 1), "at": "2020-01-01T00:00:00+00:00"})
    vote(data, "bob", 1, "second", ARENA)
    workspace = workspace_of(data, files=(RankingFile(path=str(path), name="bob"),))
    settings = workspace.recipe.human_rankings
    artifact = build(workspace)
    assert waiting_votes(settings, data, artifact) == 0 < waiting_votes(settings, data, None)
    vote(data, "bob", 2)
    assert waiting_votes(settings, data, artifact) > 0
    assert waiting_votes(settings, data, build(workspace)) == 0


def test_an_unreadable_file_of_votes_is_an_error_that_names_it(data, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    vote(data, "ann", 1)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PreferenceError, match=f"{rankings_file(data, 'ann')}: Permission denied"):
        journals(data)


def test_a_person_with_the_name_of_a_simulated_labeller_keeps_their_votes(data):
    texts = [pair(number) for number in range(5)]
    rows = [{"pair": pair_digest(*text.values()), "subject": "", "subject_exists": True, **text} for text in texts]
    pairs = stand_in("response_pairs", {"pairs": rows, "prompts": [{"question": "Who?", "split": "train"}]})
    recipe = Recipe(name="both", crawls={}, human_rankings=HumanRankings(simulated=SimulatedLabeller(share=1.0)))
    for number in range(5):
        vote(data, "simulated-1", number, "second")
    workspace, _ = build_all([pairs, HUMAN_RANKINGS], recipe, data / "artifacts")
    stats = workspace.resolver().artifact(NAME, None).record.stats
    assert stats["by_people"] == 5


def test_a_file_of_other_lines_is_rejected_and_keeps_nobody_from_ranking(data):
    vote(data, "ann", 1)
    rankings_file(data, "notes").write_text('{"text": "hello"}\n')
    artifact = build(workspace_of(data, votes=True))
    assert artifact.record.rows["rankings"] == 1
    (reject,) = read_table(artifact.table("rejects")).to_dicts()
    assert (reject["file"], reject["line"]) == ("votes/notes", 1)
    assert PairQueue([{"pair": "p", **pair(1)}], data).next("bob")[1] == 1


def test_votes_after_a_takedown_are_counted_from_the_beginning(data):
    for number in range(4):
        vote(data, "ann", number)
    first = build(workspace_of(data, votes=True))
    replace_lines(rankings_file(data, "ann"), lambda lines: lines[2:])
    for number in range(4, 6):
        vote(data, "ann", number)
    assert unread_votes(journals(data), first.record.fields["inputs"]) == 4


def test_a_build_reads_the_lines_of_its_identity_and_no_later_ones(data):
    vote(data, "ann", 1)
    workspace = workspace_of(data, votes=True)
    resolution = workspace.resolver().resolve(NAME, None)
    vote(data, "ann", 2)
    with rankings_file(data, "ann").open("ab") as file:
        file.write(b'{"question": "half a li')  # of a process that was killed: not acknowledged
    assert len(list(vote_rows(journals_of_versions(data, resolution.identity.inputs)))) == 1
    assert len(list(vote_rows(journals(data)))) == 2
    replace_lines(rankings_file(data, "ann"), lambda lines: lines[1:])
    with pytest.raises(PreferenceError, match="changed meanwhile"):
        journals_of_versions(data, resolution.identity.inputs)


def test_a_journal_that_the_recipe_names_counts_once(data):
    vote(data, "ann", 1)
    vote(data, "bob", 1)
    named = RankingFile(path=str(rankings_file(data, "ann")), name="mine")
    artifact = build(workspace_of(data, files=(named,)))
    assert sorted(read_table(artifact.table("rankings"))["source"]) == ["mine", "votes/bob"]
    assert read_table(artifact.table("votes"))["labeller"].to_list() == ["bob"]


def test_lines_that_are_removed_take_no_new_ones_along(tmp_path):
    path = tmp_path / "all.jsonl"
    add_line(path, {"vote": "first"})

    def append(writer):
        for number in range(100):
            add_line(path, {"vote": f"{writer}-{number}"})

    writers = [threading.Thread(target=append, args=(name,)) for name in ("ann", "bob")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        replace_lines(path, lambda lines: [line for line in lines if b"-13" not in line])
    replace_lines(path, lambda lines: [line for line in lines if b"-13" not in line])
    stored = [json.loads(line)["vote"] for line in path.read_text().splitlines()]
    expected = [f"{name}-{number}" for name in ("ann", "bob") for number in range(100) if number != 13]
    assert sorted(stored) == sorted(["first", *expected])


@pytest.mark.parametrize("models", [None, [], "one", {"first": "one"}, {"first": {"name": ["x"], "identity": None}}])
def test_models_that_are_none_are_empty(data, models):
    add_line(rankings_file(data, "ann"), {**pair(1), "preferred": "tie", "labeller": "ann", "models": models})
    artifact = build(workspace_of(data, votes=True))
    (row,) = read_table(artifact.table("votes")).iter_rows(named=True)
    assert row["second_model"] == row["second_identity"] == row["at"] == ""
    assert "arena_ratings" not in artifact.record.rows


def test_a_takedown_removes_votes_of_the_arena_too(data):
    vote(data, "ann", 13)
    vote(data, "ann", 13, folder=ARENA)
    vote(data, "ann", 2, folder=ARENA)
    remove_rankings(load_settings(), ["Who is 13?"])
    assert [row["pair"] for row in vote_rows(journals(data))] == [pair_digest(*pair(2).values())]
