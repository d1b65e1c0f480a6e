"""Rankings: reading files, agreement by hand, the simulated labeller, and the command that asks people."""

import json
import random

import click
import polars as pl
import pytest
from click.testing import CliRunner

from llm_assets.cli.options import CHOSEN_RECIPE
from llm_assets.cli.rank import rank, what_next
from llm_assets.dialogue.splits import split_of
from llm_assets.preference.human_rankings import agreement, ranking_split, rankings_of_files, simulate
from llm_assets.preference.open_prompts import PreferenceError
from llm_assets.preference.preference_files import read_rankings
from llm_assets.preference.ranking_files import add_ranking, ranked_by, rankings_file
from llm_assets.preference.response_pairs import pair_digest, pairs_of
from llm_assets.preference.reward_checkpoint import noise_ceiling, orders, preference_rows, reliability
from llm_assets.recipes import SimulatedLabeller, gpu, laptop
from llm_assets.recipes.preference import HumanRankings, RankingFile

GOOD = {
    "question": "Tell me of tea.",
    "first": "It is a drink.",
    "second": "Tea.",
    "preferred": "first",
    "labeller": "ann",
}


def pair(number):
    question = f"Tell me about thing {number}."
    first, second = f"Thing {number} is old. It stands in Fenford.", f"Thing {number} is old."
    return {
        "pair": pair_digest(question, first, second),
        "prompt": number,
        "question": question,
        "subject": f"thing {number}",
        "subject_exists": True,
        "first": first,
        "second": second,
    }


def test_invalid_lines_are_reported_with_the_reason(tmp_path):
    path = tmp_path / "ann.jsonl"
    invalid = [
        ({**GOOD, "preferred": "both"}, "preferred is 'both'"),
        ({**GOOD, "second": ""}, "second is missing or empty"),
        ({**GOOD, "second": GOOD["first"]}, "both answers are the same"),
        (["first"], "a list, not an object"),
        ({name: value for name, value in GOOD.items() if name != "labeller"}, "labeller is missing"),
    ]
    lines = [json.dumps(GOOD), "", "{broken", *(json.dumps(row) for row, _ in invalid)]
    path.write_text("\n".join(lines))
    by_line = dict(read_rankings(path))
    assert by_line[1] == GOOD and 2 not in by_line
    reasons = ["not JSON", *(reason for _, reason in invalid)]
    for line, reason in enumerate(reasons, 3):
        assert reason in by_line[line]
    assert max(by_line) == 8
    with pytest.raises(PreferenceError, match="no such file"):
        list(read_rankings(tmp_path / "nobody.jsonl"))


def test_half_a_character_in_a_ranking_is_replaced(tmp_path):
    """A lone surrogate, as JSON escapes it, can be in no table; the rankings around it are used. A byte order mark at
    the beginning of a file is no part of its first line.
    """
    path = tmp_path / "ann.jsonl"
    lines = [json.dumps(GOOD), json.dumps({**GOOD, "question": "x \ud83d y"}), "[" * 100_000, json.dumps(GOOD)]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    rankings = dict(read_rankings(path))
    assert rankings[1] == rankings[4] == GOOD
    assert rankings[2]["question"] == "x \ufffd y"
    assert "not JSON" in rankings[3]
    by_key, rejects, _ = rankings_of_files([RankingFile(name="ann", path=str(path))])
    assert pl.DataFrame(list(by_key.values())).height == 2 and [reject["line"] for reject in rejects] == [3]


def test_agreement_agrees_with_a_calculation_by_hand():
    preferences = (
        ("a", "first"),
        ("a", "first"),
        ("b", "first"),
        ("b", "second"),
        ("c", "second"),
        ("c", "second"),
        ("d", "tie"),
    )
    rows = [{"pair": pair, "preferred": preferred} for pair, preferred in preferences]
    # Two of three pairs agree. Both words are equally frequent, so chance is 1/2 and kappa is (2/3 - 1/2) / (1/2).
    measured = {"compared": 3, "share": 0.6667, "chance": 0.5, "kappa": 0.3333}
    assert agreement(rows) == {**measured, "untied": 3, "untied_share": 0.6667}
    assert agreement(rows[-1:]) == {"compared": 0}
    with_tie = agreement([*rows, {"pair": "d", "preferred": "first"}])
    assert with_tie["compared"] == 4 and with_tie["untied"] == 3 and with_tie["untied_share"] == 0.6667


def test_all_rankings_of_a_subject_are_in_its_split_whatever_is_asked():
    splits = {
        ranking_split(f"{wording} Thing {number}?", f"Thing {number}", {}, 0.3)
        for number in range(200)
        for wording in ("What is", "Who knows")
    }
    assert splits == {"train", "development", "test", "gold"}
    for number in range(200):
        of_subject = {ranking_split(wording, f"Thing {number}", {}, 0.3) for wording in ("What?", "Who?")}
        assert len(of_subject) == 1 and of_subject <= {split_of(f"Thing {number}"), "gold"}
    assert ranking_split("Why?", "", {"Why?": "test"}, 0.3) == "test"  # a prompt's subject is known by its question


def test_simulated_labellers_rank_a_share_of_the_pairs_and_are_marked():
    pairs = [pair(number) for number in range(400)]
    settings = SimulatedLabeller(share=0.5, again=0.4, noise=0.0)
    rows = list(simulate(pairs, settings))
    first, second = ([row for row in rows if row["labeller"] == name] for name in ("simulated-1", "simulated-2"))
    assert 150 < len(first) < 250 and 0.3 * len(first) < len(second) < 0.5 * len(first)
    assert all(row["simulated"] and row["source"] == "simulated" and row["preferred"] == "first" for row in rows)
    noisy = [row["preferred"] for row in simulate(pairs, settings.replace(noise=1.0))]
    assert 0.1 * len(noisy) < noisy.count("second") < 0.5 * len(noisy)


def test_pairs_are_of_different_answers():
    prompt = {"prompt": 3, "question": "Why?", "subject": "", "subject_exists": True}
    pairs = pairs_of(prompt, ["a", "b", "a", " ", "c"], 5, random.Random(1))
    assert len(pairs) == 3
    assert {frozenset((row["first"], row["second"])) for row in pairs} == {
        frozenset("ab"),
        frozenset("ac"),
        frozenset("bc"),
    }
    assert pairs_of(prompt, ["a", "a"], 5, random.Random(1)) == []
    assert all(row["pair"] == pair_digest("Why?", row["first"], row["second"]) for row in pairs)


def test_orders_are_rankings_without_ties():
    rows = [
        {**pair(number), "preferred": preferred, "labeller": "ann", "split": split}
        for number, (preferred, split) in enumerate(
            (("first", "train"), ("second", "train"), ("tie", "train"), ("first", "gold"))
        )
    ]
    pairs = preference_rows(pl.DataFrame(rows), ["train"])
    by_question = {row["question"]: (row["preferred"], row["other"]) for row in pairs}
    assert by_question == {
        rows[0]["question"]: (rows[0]["first"], rows[0]["second"]),
        rows[1]["question"]: (rows[1]["second"], rows[1]["first"]),
    }


def test_calibration_agrees_with_a_calculation_by_hand():
    curve = reliability([{"margin": 0.0}] * 4)["reward model"]
    assert curve == ([0.5], [0.5])
    x, y = reliability([{"margin": 2.0}] * 3 + [{"margin": -2.0}])["reward model"]
    assert x == pytest.approx([0.1192, 0.8808], abs=1e-3) and y == [0.25, 0.75]


def test_the_reward_model_is_compared_with_rules_and_with_another_labeller():
    """Four pairs: the longer answer is preferred in three, and the model prefers the right one in two."""
    texts = [("A long answer.", "Short.")] * 3 + [("Short.", "A long answer.")]
    scored = [
        {"question": "Why?", "subject": str(number), "preferred": preferred, "other": other, "margin": margin}
        for number, ((preferred, other), margin) in enumerate(zip(texts, (1.0, 1.0, -1.0, -1.0), strict=True))
    ]
    ranked = [
        {"pair": pair, "question": "Why?", "subject": pair, "preferred": preferred}
        for pair, both in (("a", ("first", "first")), ("b", ("first", "second")), ("c", ("first", "tie")))
        for preferred in both
    ]
    shares = {name: estimate.value for name, estimate in orders(scored, ranked).items()}
    assert shares == {
        "reward model": 0.5,
        "longer answer": 0.75,
        "more facts": 0.5,
        "another labeller": 0.5,
        "ceiling": 0.5,
    }
    assert orders([], ranked) == {}


def test_the_noise_ceiling_is_reached_by_a_model_that_knows_the_better_answer():
    """Labellers who prefer the better answer in nine of ten cases agree in 0.9² + 0.1² of them."""
    assert noise_ceiling(0.82) == pytest.approx(0.9) and noise_ceiling(1.0) == 1.0
    assert noise_ceiling(0.5) == noise_ceiling(0.4) == 0.5


def test_an_unfinished_line_does_not_spoil_the_next_ranking(tmp_path):
    path = tmp_path / "ann.jsonl"
    path.write_text('{"question": "half')
    add_ranking(path, pair(1), "first", "ann")
    add_ranking(path, pair(2), "tie", "ann")
    assert ranked_by(path, "ann") == {pair(1)["pair"], pair(2)["pair"]} and ranked_by(path, "bob") == set()
    assert [type(row) for _, row in read_rankings(path)] == [str, dict, dict]


def test_a_subject_that_is_null_is_none(tmp_path):
    rows = [{**GOOD, "question": f"What is {number}?", "subject": None} for number in range(3)]
    pl.DataFrame(rows).write_parquet(tmp_path / "rankings.parquet")
    rankings, *_ = rankings_of_files([RankingFile(path=str(tmp_path / "rankings.parquet"), name="a")])
    assert {row["subject"] for row in rankings.values()} == {""}


@pytest.mark.parametrize("name", ["rankings.parquet", "rankings.jsonl.gz", "rankings.json"])
def test_the_command_adds_to_files_of_lines_alone(tmp_path, name):
    run = CliRunner().invoke(rank, ["--labeller", "ann", "--file", str(tmp_path / name)])
    assert run.exit_code == 2 and "*.jsonl" in run.output


def test_the_command_fails_if_response_pairs_is_not_built(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path))
    run = CliRunner().invoke(rank, ["--labeller", "ann"])
    assert run.exit_code != 0 and "response_pairs" in str(run.exception)


def test_the_command_ends_with_how_the_rankings_get_into_a_version(tmp_path):
    path, elsewhere = rankings_file(tmp_path, "ann"), tmp_path / "ann.jsonl"  # neither exists before the first vote
    with click.Context(rank) as context:
        context.meta[CHOSEN_RECIPE] = "my.py:mine"
        advice = what_next(path, laptop(), tmp_path)
        assert advice.endswith("llm-assets run --recipe my.py:mine --select human_rankings")
        assert "votes=True" in what_next(path, gpu(), tmp_path)
        assert "name it in human_rankings.files" in what_next(elsewhere, laptop(), tmp_path)
        named = HumanRankings(files=(RankingFile(path=str(elsewhere), name="a"),), votes=False)
        assert what_next(elsewhere, laptop().replace(human_rankings=named), tmp_path) == advice
        assert "name it in human_rankings.files" in what_next(path, laptop().replace(human_rankings=named), tmp_path)
