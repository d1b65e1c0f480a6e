"""Headline figures and their spread over replicas."""

import pytest

from llm_assets.recipes.replicas import Replica
from llm_assets.release.headlines import HEADLINES, Headline, Target, figures_of
from llm_assets.release.replication import beside_published, missed, replicas, run_record, spread, spreads, table

NAMES = [headline.name for headline in HEADLINES]


def rows(**values):
    """Rows of a table `evaluation`; a keyword's name is model__suite__group__metric, with spaces for _."""
    keys = (name.split("__") for name in values)
    return [
        dict(zip(("model", "suite", "group", "metric"), key, strict=True), value=value)
        for key, value in zip(keys, values.values(), strict=True)
    ]


def value_of(name, **values):
    return HEADLINES[NAMES.index(name)].value(figures_of(rows(**values)))


def test_worlds_start_behind_those_that_recipes_are_tuned_on():
    assert replicas(2, 2) == [Replica(1, 6), Replica(1, 7), Replica(2, 6), Replica(2, 7)]


def test_without_worlds_the_recipes_own_crawls_are_kept():
    assert replicas(3, 0) == [Replica(1), Replica(2), Replica(3)]


def test_a_spread_has_the_mean_the_range_and_students_interval():
    # Standard deviation 0.1 of three values; t for two degrees of freedom is 4.3027, so 4.3027 * 0.1 / sqrt(3).
    result = spread([0.5, 0.6, 0.7])
    assert result.mean == pytest.approx(0.6) and (result.low, result.high) == (0.5, 0.7)
    assert result.error == pytest.approx(0.24841, abs=1e-5)


def test_one_run_has_no_interval():
    assert spread([0.5]).error is None


def test_no_run_is_an_error():
    with pytest.raises(ValueError, match="no run"):
        spread([])


def test_made_up_answers_are_a_share_of_the_ablations():
    values = dict(sft__questions__fictitious__wrong=0.1, ablation__questions__fictitious__wrong=0.8)
    assert value_of("answers made up, as a share of the ablation's", **values) == pytest.approx(0.125)


def test_the_gain_through_rl_is_of_a_family_that_was_neither_too_hard_nor_too_easy():
    values = {
        "sft__problems__easy__pass@1": 0.7,
        "rl__problems__easy__pass@1": 1.0,
        "sft__problems__fair__pass@1": 0.3,
        "rl__problems__fair__pass@1": 0.5,
        "sft__problems__hard__pass@1": 0.1,
        "rl__problems__hard__pass@1": 0.6,
    }
    assert value_of("largest gain of a feasible family through RL", **values) == pytest.approx(0.2)


def test_a_family_below_the_best_constant_answer_is_a_negative_lead():
    values = {
        "sft__problems__letters__pass@1": 0.3,
        "rl__problems__letters__pass@1": 0.5,
        "best constant answer__problems__letters__pass@1": 0.69,
    }
    assert value_of("smallest lead over a constant answer after RL", **values) == pytest.approx(-0.19)


def test_a_level_is_no_family_of_its_own():
    values = {
        "rl__problems__two_hops__pass@1": 0.3,
        "sft__problems__two_hops__pass@1": 0.3,
        "best constant answer__problems__two_hops__pass@1": 0.1,
        "rl__problems__two_hops, level 1__pass@1": 0.0,
        "sft__problems__two_hops, level 1__pass@1": 0.0,
        "best constant answer__problems__two_hops, level 1__pass@1": 0.1,
    }
    assert value_of("smallest lead over a constant answer after RL", **values) == pytest.approx(0.2)


def test_a_missing_figure_is_none():
    assert all(headline.value({}) is None for headline in HEADLINES)


def record_of(*shares):
    runs = [
        run_record(Replica(seed, 2), "", figures_of(rows(sft__questions__search__right=share)))
        for seed, share in enumerate(shares, start=1)
    ]
    return {"recipe": "laptop", "runs": runs}


def test_a_target_counts_as_met_only_if_every_run_meets_it():
    cells = (
        "facts of unseen pages right, by search",
        "87.5 % ± 31.8 %",
        "85.0 % to 90.0 %",
        "",
        "≥ 85 %: met in 2 of 2 runs",
    )
    assert f"| {' | '.join(cells)} |" in table(record_of(0.85, 0.9))
    assert table(record_of(0.85, 0.8))[-1].endswith("| ≥ 85 %: met in 1 of 2 runs |")


def test_a_target_that_one_run_misses_is_missed():
    assert missed(record_of(0.85, 0.8)) == ["facts of unseen pages right, by search"]
    assert missed(record_of(0.85, 0.9)) == []


def test_figures_that_no_run_has_are_left_out():
    assert list(spreads(record_of(0.9))) == ["facts of unseen pages right, by search"]


def test_a_run_stands_beside_the_published_range():
    figures = figures_of(rows(sft__questions__search__right=0.8))
    assert beside_published(figures, record_of(0.85, 0.9)) == [
        ("facts of unseen pages right, by search", "80.0 %", "87.5 % (85.0 % to 90.0 %)")
    ]


@pytest.mark.parametrize(("target", "value", "met"), [(Target("≥", 0.5), 0.5, True), (Target("≤", 0.5), 0.6, False)])
def test_a_target_is_met_at_its_limit(target, value, met):
    assert target.is_met(value) is met


@pytest.mark.parametrize(
    ("unit", "value", "text"), [("%", 0.931, "93.1 %"), ("points", 0.05, "+5.0 points"), ("bits", 0.2351, "0.235")]
)
def test_a_value_is_written_with_its_unit(unit, value, text):
    assert Headline("", lambda figures: None, unit).text(value) == text
