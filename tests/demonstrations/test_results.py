"""Figures with intervals, and verdicts on claims."""

import polars as pl
import pytest

from llm_assets.demonstrations.results import at_least, at_most, conclusion, judge, pooled, result_tables
from llm_assets.evaluation.intervals import share


def observed(values, seed=1, x=1, series="s", figure="right"):
    return {"figure": figure, "series": series, "x": x, "seed": seed, "values": values}


def test_a_share_has_wilsons_interval_over_the_questions_of_all_seeds():
    assert pooled([[True] * 40 + [False] * 10] * 2) == share(80, 100)


def test_the_interval_covers_the_means_of_all_seeds():
    whole = pooled([[True] * 500, [False] * 500])
    assert (whole.value, whole.low, whole.high, whole.n) == (0.5, 0.0, 1.0, 1000)


def test_values_that_are_no_shares_have_a_bootstrap_interval():
    estimate = pooled([[0.1, 0.9, 0.5, 0.7]])
    assert estimate.value == pytest.approx(0.55) and 0.1 < estimate.low < 0.55 < estimate.high < 0.9
    assert pooled([[1, 1], [1]]) == (1.0, 1.0, 1.0, 3)


def test_observations_of_the_same_figure_and_place_are_pooled():
    results, by_seed = result_tables([observed([True, False]), observed([True, True], seed=2), observed([False], x=2)])
    assert results.select("x", "value", "n", "seeds").rows() == [(1.0, 0.75, 4, 2), (2.0, 0.0, 1, 1)]
    assert by_seed.select("x", "seed", "value").rows() == [(1.0, 1, 0.5), (1.0, 2, 1.0), (2.0, 1, 0.0)]


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (at_least, {0.5: "held", 0.8: "undecided", 0.95: "did not hold"}),
        (at_most, {0.5: "did not hold", 0.8: "undecided", 0.95: "held"}),
    ],
)
def test_the_whole_interval_decides_on_a_claim(claim, verdict):
    results, _ = result_tables([observed([True] * 80 + [False] * 20)])
    claims = [claim(bound, "c", "right", "s", 1.0) for bound in verdict]
    assert judge(claims, results)["verdict"].to_list() == list(verdict.values())


def test_a_claim_about_what_was_not_measured_is_an_error():
    results, _ = result_tables([observed([True])])
    with pytest.raises(KeyError, match="was not measured"):
        judge([at_least(0.5, "c", "right", "other", 1.0)], results)


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        (["held", "held"], "The prediction held: all 2 claims."),
        (["held", "did not hold"], "The prediction did not hold: 1 of 2 claims held, 1 did not hold."),
        ([], "Nothing could be measured on this corpus."),
        (["held", "undecided"], "The prediction is undecided: 1 of 2 claims held, 1 undecided."),
    ],
)
def test_the_conclusion_follows_from_the_verdicts(verdicts, sentence):
    assert conclusion(pl.DataFrame({"verdict": verdicts}, schema={"verdict": pl.String})) == sentence
