"""What a later stage did to the assistant's abilities: the check that tells of a loss."""

from types import SimpleNamespace

import pytest

from llm_assets.evaluation.abilities import check_abilities


def found(changes):
    return check_abilities(SimpleNamespace(record=SimpleNamespace(stats={"changes": changes})), None, None)


def test_every_change_can_be_plotted():
    outcome = found({"known": -0.02, "fictitious": 0.1})
    assert outcome.passed and outcome.failures == []
    assert outcome.numbers == {"largest_loss": -0.02, "change_known": -0.02, "change_fictitious": 0.1}


def test_a_loss_of_more_than_ten_points_is_told():
    outcome = found({"known": -0.11, "sums": -0.1, "fictitious": 0.1})
    assert not outcome.passed and outcome.failures == [{"group": "known", "change": -0.11}]
    assert outcome.numbers["largest_loss"] == pytest.approx(-0.11)


def test_nothing_asked_nothing_lost():
    assert found({}).passed
