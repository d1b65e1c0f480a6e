"""Grades of general conversations, and the check that reports abilities lost in a later stage."""

import json
from types import SimpleNamespace

import pytest

from llm_assets.evaluation.abilities import check_abilities, grade_row


def outcome_of(changes):
    evaluation = SimpleNamespace(record=SimpleNamespace(stats={"changes": changes}))
    return check_abilities(evaluation, None, None)


def test_every_change_is_a_number_of_the_check():
    outcome = outcome_of({"known": -0.02, "fictitious": 0.1})
    assert outcome.passed and outcome.failures == []
    assert outcome.numbers == {"worst_change": -0.02, "change_known": -0.02, "change_fictitious": 0.1}


def test_a_loss_of_more_than_ten_points_fails_the_check():
    outcome = outcome_of({"known": -0.11, "sums": -0.1, "fictitious": 0.1})
    assert not outcome.passed and outcome.failures == [{"group": "known", "change": -0.11}]
    assert outcome.numbers["worst_change"] == pytest.approx(-0.11)


def test_an_evaluation_without_questions_passes_the_check():
    assert outcome_of({}).passed


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
