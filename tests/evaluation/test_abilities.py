"""How a later stage changed the assistant's abilities: the check that reports a loss."""

from types import SimpleNamespace

import pytest

from llm_assets.evaluation.abilities import check_abilities


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
