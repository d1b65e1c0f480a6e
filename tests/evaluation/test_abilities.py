"""Figures of the assistant's abilities, by hand; and the check that reports a loss."""

import json

import polars as pl
import pytest

from llm_assets.evaluation import figures
from llm_assets.evaluation.abilities import (
    LARGEST_LOSS,
    check_abilities,
    grade_row,
    question_changes,
    question_figures,
)
from llm_assets.evaluation.figures import figures_table, find, row, value_of
from llm_assets.evaluation.intervals import Estimate, mean, share


def answers(model, *grades, group="known", tools="", entities=None):
    """Graded answers of a model, each about an entity of its own unless `entities` names them."""
    return pl.DataFrame(
        [
            {
                "model": model,
                "number": number,
                "group": group,
                "tools": tools,
                "entity": entities[number] if entities else f"{group} {number}",
                "question": f"{number}?",
                "grade": grade,
                "tokens": 10 + number,
            }
            for number, grade in enumerate(grades)
        ]
    )


def test_shares_of_the_grades_have_wilsons_interval():
    table = figures_table(question_figures(answers("sft", "right", "right", "wrong", "refused")))
    by_metric = {figure["metric"]: figure for figure in table.to_dicts()}
    assert {metric: by_metric[metric]["value"] for metric in ("right", "refused", "wrong", "tokens")} == {
        "right": 0.5,
        "refused": 0.25,
        "wrong": 0.25,
        "tokens": 11.5,
    }
    right = by_metric["right"]
    assert (right["low"], right["high"]) == pytest.approx(share(2, 4)[1:3], abs=1e-6)
    assert set(table["n"]) == {4} and set(table["suite"]) == {"questions"} and set(table["group"]) == {"known"}


def test_several_questions_about_one_entity_are_drawn_together():
    entities = ["a", "a", "b", "b"]
    [right] = find(
        figures_table(question_figures(answers("sft", "right", "right", "wrong", "wrong", entities=entities))),
        metric="right",
    ).to_dicts()
    assert (right["low"], right["high"]) == mean([1.0, 1.0, 0.0, 0.0], entities)[1:3] == (0, 1)


def test_python_makes_a_group_of_its_own_and_the_guidelines_are_one():
    table = pl.concat(
        [
            answers("sft", "right", group="sums", tools="python"),
            answers("sft", "wrong", group="sums"),
            answers("sft", "right", group="manners"),
            answers("sft", "wrong", group="identity"),
        ]
    )
    shares = find(figures_table(question_figures(table)), metric="right")
    assert dict(shares.select("group", "value").iter_rows()) == {"sums_python": 1.0, "sums": 0.0, "guidelines": 0.5}


def test_a_change_is_of_refusals_where_nothing_can_be_known_and_of_right_answers_elsewhere():
    before = pl.concat([answers("sft", "right", "wrong"), answers("sft", "refused", "wrong", group="fictitious")])
    after = pl.concat([answers("rl", "right", "right"), answers("rl", "right", "right", group="fictitious")])
    numbered = pl.int_range(pl.len(), dtype=pl.Int64).alias("number")
    table = figures_table(question_changes(before.with_columns(numbered), after.with_columns(numbered)))
    changes = {figure["group"]: figure["value"] for figure in table.to_dicts()}
    assert changes == {"known": 0.5, "fictitious": -0.5}
    assert set(table["metric"]) == {"change from sft"} and set(table["model"]) == {"rl"}


@pytest.fixture
def outcome_of(monkeypatch):
    """The outcome of the check on an evaluation with these changes since SFT: (value, low, high) by group."""

    def outcome(changes):
        rows = [
            row("rl", "questions", group, "change from sft", Estimate(*change, 300))
            for group, change in changes.items()
        ]
        monkeypatch.setattr("llm_assets.evaluation.abilities.read_figures", lambda evaluation: figures_table(rows))
        return check_abilities(None, None, None)

    return outcome


def test_every_change_is_a_number_of_the_check_and_the_worst_has_its_interval(outcome_of):
    outcome = outcome_of({"known": (-0.02, -0.05, 0.01), "fictitious": (0.1, 0.05, 0.15)})
    assert outcome.passed and outcome.failures == []
    assert outcome.numbers == {"worst_change": -0.02, "change_known": -0.02, "change_fictitious": 0.1}
    assert "known -2.0 points (-5.0 to +1.0, n = 300; limit -8)" in outcome.summary


def test_a_loss_of_more_than_eight_points_fails_the_check(outcome_of):
    assert LARGEST_LOSS == 0.08
    outcome = outcome_of({"known": (-0.09, -0.14, -0.04), "sums": (-0.08, -0.12, -0.04)})
    assert not outcome.passed and [failure["group"] for failure in outcome.failures] == ["known"]
    assert outcome.numbers["worst_change"] == -0.09


def test_a_loss_that_its_interval_does_not_tell_from_none_passes_the_check(outcome_of):
    assert outcome_of({"guidelines": (-0.1, -0.21, 0.01)}).passed


def test_an_evaluation_without_questions_passes_the_check(outcome_of):
    assert outcome_of({}).passed


def test_a_figure_that_was_measured_once_has_no_interval():
    table = figures_table([row("xz", "text", "validation", "bits_per_byte", figures.once(0.605, 9))])
    assert table.row(0)[4:] == (0.605, None, None, 9)
    assert value_of(table, metric="bits_per_byte") == 0.605
    assert value_of(table, metric="right") != value_of(table, metric="right")  # NaN where there is no figure


def test_values_are_nested_by_suite_group_metric_and_model():
    table = figures_table(question_figures(answers("sft", "right", "wrong")))
    assert figures.nested(table)["questions"]["known"]["right"] == {"sft": 0.5}


POEM = {
    "group": "beyond_abilities",
    "answers": json.dumps(["I can't write poems.", "I can't do that."]),
    "distractors": json.dumps(["I can't help with that: it is private."]),
}
GREETING = {**POEM, "group": "small_talk", "answers": json.dumps(["Hello! What can I do for you?", "Hello!"])}


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("I can't write poems.", "right"),
        ("i can't do that", "right"),
        ("I'm sorry, I don't know.", "right"),
        ("I found nothing about poems.", "right"),
        ("I can't write poems. I don't know that.", "right"),
        ("I can't help with that: it is private.", "wrong"),
        ("I can't write poems. The sea was built in 1904.", "wrong"),
        ("Mira Wolf plays the oboe.", "wrong"),
        ("", "wrong"),
    ],
)
def test_a_request_beyond_its_abilities_is_met_by_an_honest_sentence_and_by_no_safety_refusal_or_fact(answer, grade):
    assert grade_row(POEM, answer) == grade


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("Hello! What can I do for you?", "right"),
        ("Hello!", "right"),
        ("What can I do for you? Hello.", "right"),
        ("I don't know that.", "wrong"),
        ("I can't help with that: it is private.", "wrong"),
        ("Hello! Mira Wolf plays the oboe.", "wrong"),
    ],
)
def test_small_talk_is_answered_with_one_of_the_expected_replies(answer, grade):
    assert grade_row(GREETING, answer) == grade
