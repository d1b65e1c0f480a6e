"""Rankings: who said what, what is none, agreement by hand, and the command that asks people."""

import json
import random

import pytest
from click.testing import CliRunner

from llm_assets.cli.rank import add_ranking, rank, ranked_by
from llm_assets.preference.human_rankings import agreement, read_rankings, simulate, split_of
from llm_assets.preference.response_pairs import (
    FICTITIOUS,
    PreferenceError,
    Prompt,
    corpus_prompts,
    fictitious_prompts,
    mixed,
    pair_digest,
    pairs_of,
    title_prompts,
)
from llm_assets.preference.reward_checkpoint import preference_rows, reliability
from llm_assets.preference.rlhf_evaluation import wins
from llm_assets.recipes import HumanRankings, SimulatedLabeller

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
        "exists": True,
        "first": first,
        "second": second,
    }


def test_lines_that_are_no_rankings_are_told(tmp_path):
    path = tmp_path / "ann.jsonl"
    bad = [
        {**GOOD, "preferred": "both"},
        {**GOOD, "second": ""},
        {**GOOD, "second": GOOD["first"]},
        ["first"],
        {name: value for name, value in GOOD.items() if name != "labeller"},
    ]
    path.write_text("\n".join([json.dumps(GOOD), "", "{broken", *map(json.dumps, bad)]))
    found = dict(read_rankings(path))
    assert found[1] == GOOD and 2 not in found
    told = [found[line] for line in range(3, 9)]
    for text, why in zip(
        told,
        (
            "not JSON",
            "preferred is 'both'",
            "second is missing or empty",
            "both answers are the same",
            "a list, not an object",
            "labeller is missing",
        ),
        strict=True,
    ):
        assert why in text
    with pytest.raises(PreferenceError, match="no such file"):
        list(read_rankings(tmp_path / "nobody.jsonl"))


def test_agreement_by_hand():
    rows = [
        {"pair": pair, "preferred": said}
        for pair, said in (
            ("a", "first"),
            ("a", "first"),
            ("b", "first"),
            ("b", "second"),
            ("c", "second"),
            ("c", "second"),
            ("d", "tie"),
        )
    ]
    # Two of three pairs alike; each word as often as the other: chance is a half, kappa (2/3 - 1/2) / (1/2).
    assert agreement(rows) == {"compared": 3, "share": 0.6667, "chance": 0.5, "kappa": 0.3333}
    assert agreement(rows[-1:]) == {"compared": 0}


def test_questions_stand_on_one_side():
    sides = {split_of(f"question {number}", 0.2, 0.3) for number in range(200)}
    assert sides == {"train", "held_out", "gold"}
    assert split_of("question 1", 0.2, 0.3) == split_of("question 1", 0.2, 0.3)
    with pytest.raises(ValueError, match="leave nothing to train on"):
        HumanRankings(held_out=0.6, gold=0.4)


def test_the_simulated_labeller_ranks_a_share_and_says_who_it_is():
    pairs = [pair(number) for number in range(400)]
    settings = SimulatedLabeller(share=0.5, again=0.4, noise=0.0)
    rows = list(simulate(pairs, settings))
    first, second = ([row for row in rows if row["labeller"] == name] for name in ("simulated-1", "simulated-2"))
    assert 150 < len(first) < 250 and 0.3 * len(first) < len(second) < 0.5 * len(first)
    assert all(row["simulated"] and row["source"] == "simulated" and row["preferred"] == "first" for row in rows)
    noisy = [row["preferred"] for row in simulate(pairs, settings.replace(noise=1.0))]
    assert 0.1 * len(noisy) < noisy.count("second") < 0.5 * len(noisy)


def test_pairs_are_of_different_answers():
    prompt = {"prompt": 3, "question": "Why?", "subject": "", "exists": True}
    found = pairs_of(prompt, ["a", "b", "a", " ", "c"], 5, random.Random(1))
    assert len(found) == 3 and {frozenset((one["first"], one["second"])) for one in found} == {
        frozenset("ab"),
        frozenset("ac"),
        frozenset("bc"),
    }
    assert pairs_of(prompt, ["a", "a"], 5, random.Random(1)) == []
    assert all(one["pair"] == pair_digest("Why?", one["first"], one["second"]) for one in found)


def test_open_prompts_are_about_what_the_model_knows_two_things_of():
    def topic(entity, verdict="known", kept_apart=False):
        return {"entity": entity, "verdict": verdict, "kept_apart": kept_apart}

    topics = [
        topic("Ann"),
        topic("Ann"),
        topic("Bob"),
        topic("Bob", "unknown"),
        topic("Cid", kept_apart=True),
        topic("Cid", kept_apart=True),
    ]
    trained, kept = corpus_prompts(topics, False), corpus_prompts(topics, True)
    assert {subject for _, subject in trained} == {"Ann"} and {subject for _, subject in kept} == {"Cid"}
    ignorant = [{**one, "verdict": "unknown"} for one in topics]
    assert {subject for _, subject in corpus_prompts(ignorant, False)} == {"Ann", "Bob"} and corpus_prompts(
        [], False
    ) == []
    assert not {question.replace("Ann", "X") for question, _ in trained} & {
        question.replace("Cid", "X") for question, _ in kept
    }


def test_a_corpus_without_questions_is_asked_for_its_titles():
    pages = (
        [(f"Page {number}", "text") for number in range(50)]
        + [("", "The harbour was built in the year 1904, they say."), ("", "")]
        + [("Home", f"Story {number} tells of much.") for number in range(2)]
    )
    asked, kept = title_prompts(pages, False), title_prompts(pages, True)
    things, apart = ({subject for _, subject in side} for side in (asked, kept))
    assert not things & apart and things | apart == {
        *(f"Page {number}" for number in range(50)),
        "The harbour was built in the",
        "Story 0 tells of much.",
        "Story 1 tells of much.",
    }
    assert 3 < len(apart) < 20 and all(subject in question for question, subject in asked)


def test_orders_are_rankings_without_ties():
    import polars as pl

    rows = [
        {**pair(number), "preferred": said, "labeller": "ann", "split": split}
        for number, (said, split) in enumerate(
            (("first", "train"), ("second", "train"), ("tie", "train"), ("first", "gold"))
        )
    ]
    found = {
        one["question"]: (one["preferred"], one["other"]) for one in preference_rows(pl.DataFrame(rows), ["train"])
    }
    assert found == {
        rows[0]["question"]: (rows[0]["first"], rows[0]["second"]),
        rows[1]["question"]: (rows[1]["second"], rows[1]["first"]),
    }


def test_calibration_by_hand():
    curve = reliability([{"margin": 0.0}] * 4)["reward model"]
    assert curve == ([0.5], [0.5])
    x, y = reliability([{"margin": 2.0}] * 3 + [{"margin": -2.0}])["reward model"]
    assert x == pytest.approx([0.1192, 0.8808], abs=1e-3) and y == [0.25, 0.75]


def test_wins_count_half_where_answers_are_alike():
    assert wins([1.0, 2.0, 0.0, 3.0], [0.0, 2.0, 1.0, 1.0]) == 0.625


def test_a_line_that_was_broken_off_spoils_no_other(tmp_path):
    path = tmp_path / "ann.jsonl"
    path.write_text('{"question": "half')
    add_ranking(path, pair(1), "first", "ann")
    add_ranking(path, pair(2), "tie", "ann")
    assert ranked_by(path, "ann") == {pair(1)["pair"], pair(2)["pair"]} and ranked_by(path, "bob") == set()
    assert [type(row) for _, row in read_rankings(path)] == [str, dict, dict]


def test_nothing_is_asked_of_an_unbuilt_artifact(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path))
    run = CliRunner().invoke(rank, ["--labeller", "ann"])
    assert run.exit_code != 0 and "response_pairs" in str(run.exception)


def test_a_share_of_the_prompts_is_about_what_exists_nowhere():
    names = [{"name": f"Nobody {number}", "kept_apart": number % 5 == 0} for number in range(50)]
    asked, apart = fictitious_prompts(names, False), fictitious_prompts(names, True)
    assert (
        len(asked) == 40
        and len({question.replace(name, "X") for question, name in asked}) > 3
        and not {name for _, name in asked} & {name for _, name in apart}
    )
    things, strangers = (
        [Prompt(f"What is {number}?", str(number), "corpus") for number in range(100)],
        [Prompt(*one, FICTITIOUS) for one in asked],
    )
    for most, share, known, unknown in ((50, 0.2, 40, 10), (200, 0.2, 100, 25), (100, 0.5, 60, 40), (50, 0.0, 50, 0)):
        found = mixed(things, strangers, share, most, random.Random(1))
        assert (sum(one in things for one in found), sum(one in strangers for one in found)) == (
            known,
            unknown,
        ) and len(set(found)) == len(found)
    assert mixed([], strangers, 0.2, 50, random.Random(1)) == []
    assert mixed(things, strangers, 0.2, 50, random.Random(1)) != mixed(things, strangers, 0.2, 50, random.Random(2))
