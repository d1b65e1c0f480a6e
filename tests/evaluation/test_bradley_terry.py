"""Ratings from comparisons: by hand, against a general optimiser, and with intervals that hold."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import minimize

from llm_assets.evaluation.bradley_terry import log_strengths, ratings


def test_two_models_have_the_ratings_of_their_odds():
    table = ratings([("a", "b", "first")] * 300 + [("b", "a", "first")] * 100)
    assert [(row.model, row.wins, row.losses, row.ties) for row in table] == [("a", 300, 100, 0), ("b", 100, 300, 0)]
    # Odds of 3 to 1 are 400 log10(3) = 190.8 points; the imaginary tie takes away less than a point.
    assert table[0].rating - table[1].rating == pytest.approx(400 * math.log10(3), abs=1)
    assert table[0].rating + table[1].rating == pytest.approx(2000, abs=0.2)
    assert table[0].low < table[0].rating < table[0].high and table[0].low > table[1].high


def test_ties_are_half_a_win_of_each_whatever_the_order():
    even = ratings([("a", "b", "tie")] * 8)
    assert [row.rating for row in even] == [1000.0, 1000.0] and [row.ties for row in even] == [8, 8]
    halves = ratings([("a", "b", "first"), ("a", "b", "second")] * 4)
    assert [row.rating for row in halves] == [1000.0, 1000.0]
    swapped = ratings([("a", "b", "first"), ("a", "b", "tie")])
    assert swapped[0].rating == ratings([("b", "a", "second"), ("b", "a", "tie")])[0].rating


def test_strengths_are_those_that_a_general_optimiser_finds():
    rng = np.random.default_rng(3)
    scores = np.triu(rng.integers(0, 9, (5, 5)), 1) + np.tril(rng.integers(0, 9, (5, 5)), -1)

    def loss(logs):
        gaps = logs[None, :] - logs[:, None]
        against_mean = np.log1p(np.exp(-logs)) + np.log1p(np.exp(logs))
        return (scores * np.log1p(np.exp(gaps))).sum() + 0.5 * against_mean.sum()

    best = minimize(loss, np.zeros(5), method="BFGS").x
    assert np.allclose(log_strengths(scores[None].astype(float))[0], best - best.mean(), atol=1e-4)


def test_one_vote_tells_little():
    """A bootstrap would say that it tells all."""
    winner, loser = ratings([("a", "b", "first")])
    assert winner.rating > 1000 > loser.rating and winner.low < 1000 < winner.high
    unanimous, _ = ratings([("a", "b", "first")] * 20)
    assert unanimous.low < unanimous.rating <= unanimous.high and unanimous.low > 1000


@pytest.mark.parametrize("odds", [1, 4])
def test_intervals_hold_the_true_ratings(odds):
    truth, inside = 1000 + 200 * math.log10(odds), 0
    for won, count in Counter(np.random.default_rng(7).binomial(40, odds / (odds + 1), 200).tolist()).items():
        table = ratings([("a", "b", "first")] * won + [("a", "b", "second")] * (40 - won))
        (row,) = [row for row in table if row.model == "a"]
        inside += count * (row.low <= truth <= row.high)
    assert inside >= 184


def test_a_model_that_always_wins_and_one_that_met_nobody_else_are_finite():
    table = ratings([("a", "b", "first")] * 5 + [("c", "d", "second")])
    assert all(np.isfinite([row.rating, row.low, row.high]).all() for row in table)
    assert table[0].model == "a" and ratings([]) == []


@pytest.mark.parametrize("battle", [("a", "b", "won"), ("a", "a", "tie")])
def test_what_is_no_comparison_is_refused(battle):
    with pytest.raises(ValueError, match="no comparison"):
        ratings([battle])
