"""Confidence intervals, against values worked by hand or published."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.evaluation.intervals import difference, mean, proportion, share


def test_wilsons_interval_by_hand():
    z, n, p = 1.959964, 20, 0.25
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert share(5, 20) == pytest.approx((0.25, centre - half, centre + half, 20), abs=1e-6)


def test_a_share_of_none_or_all_has_an_interval_that_is_no_point():
    assert share(0, 10)[:2] == (0, 0) and share(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert share(10, 10).low == pytest.approx(1 - 0.2775, abs=1e-4)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_within_its_interval(counts):
    estimate = share(*counts)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize("function", [mean, lambda values: share(0, len(values)), lambda v: difference(v, v)])
def test_no_observation_is_an_error(function):
    with pytest.raises(ValueError, match="of no"):
        function([])


def test_the_bootstrap_agrees_with_the_normal_approximation():
    values = np.random.default_rng(7).normal(3, 2, 400).tolist()
    estimate, error = mean(values), np.std(values) / 20
    assert estimate.value == pytest.approx(np.mean(values)) and estimate.n == 400
    assert estimate.low == pytest.approx(estimate.value - 1.96 * error, abs=0.03)
    assert estimate.high == pytest.approx(estimate.value + 1.96 * error, abs=0.03)


def test_values_of_one_subject_are_drawn_together():
    values, subjects = [0.0, 1.0] * 20, ["a", "b"] * 20
    alone, together = mean(values), mean(values, subjects)
    assert together.value == alone.value == 0.5 and together.n == 40
    # With two subjects, every fourth sample holds one of them alone.
    assert (together.low, together.high) == (0, 1) and alone.high - alone.low < 0.4


def test_a_difference_is_paired():
    before = np.random.default_rng(3).normal(0, 50, 60)
    estimate = difference(before + 1, before)
    assert estimate == pytest.approx((1, 1, 1, 60))


def test_a_proportion_is_wilsons_only_where_each_subject_is_observed_once():
    marks = [1.0, 0.0, 1.0, 1.0]
    assert proportion(marks) == proportion(marks, "abcd") == share(3, 4)
    assert proportion(marks, "aabb") == mean(marks, "aabb")
    assert proportion([0.5, 0.25, 1.0, 0.0]) == mean([0.5, 0.25, 1.0, 0.0])


def test_equal_values_have_the_interval_of_as_many_observations_as_there_are_subjects():
    assert proportion([1.0] * 6, "aabbcc") == (1.0, *share(3, 3)[1:3], 6)
    assert proportion([0.0] * 6) == share(0, 6)


def test_the_same_values_give_the_same_interval():
    assert mean([1.0, 2.0, 4.0]) == mean([1.0, 2.0, 4.0])
