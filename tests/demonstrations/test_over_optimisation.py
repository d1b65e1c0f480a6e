"""The best of n answers, the divergence that it costs, and where the monitor would stop."""

import math

import numpy as np
import polars as pl
import pytest

from llm_assets.demonstrations.jobs import RL_GOLD, RL_PROXY, ROOT_KL, divergence_of_best
from llm_assets.demonstrations.over_optimisation import against_divergence
from llm_assets.demonstrations.over_optimisation_process import Scale, scores_of_best, stopping_step


@pytest.mark.parametrize(("answers", "nats"), [(1, 0.0), (2, math.log(2) - 0.5), (16, math.log(16) - 15 / 16)])
def test_the_divergence_of_the_best_of_n(answers, nats):
    assert divergence_of_best(answers) == pytest.approx(nats)


@pytest.mark.parametrize(("count", "proxy", "gold"), [(1, 1.5, 6.5), (2, 2.0, 6.5), (3, 3.0, 7.0), (4, 3.0, 7.0)])
def test_the_best_by_the_proxy_is_chosen_whatever_its_gold(count, proxy, gold):
    proxies, golds = np.array([[0.0, 1.0, 3.0, 2.0]]), np.array([[5.0, 6.0, 7.0, 8.0]])
    assert scores_of_best(proxies, proxies, count).tolist() == [proxy]
    assert scores_of_best(proxies, golds, count).tolist() == [gold]


def evaluations(golds, proxies):
    rows = zip(golds, proxies, strict=True)
    return [{"step": 10 * n, RL_GOLD: [gold], RL_PROXY: [proxy]} for n, (gold, proxy) in enumerate(rows)]


@pytest.mark.parametrize(("golds", "step"), [([0, 1, 0.5, 0.4, 0.3], 30), ([0, 1, 2, 3, 4], 40)])
def test_the_monitor_stops_where_gold_falls_and_the_proxy_rises(golds, step):
    assert stopping_step(evaluations(golds, [0, 1, 2, 3, 4]), patience=2, margin=0.1) == step


def test_scores_are_scaled_by_the_first_answers():
    scale = Scale.of(lambda prompts, answers: answers, [], [1.0, 3.0])
    assert scale([], [1.0, 3.0, 5.0]) == [-1.0, 1.0, 3.0]


def test_proxy_and_gold_are_drawn_by_divergence():
    rows = [
        (figure, "200 rankings", step, value)
        for step, root, proxy, gold in ((0.0, 0.0, 0.0, 0.0), (15.0, 2.0, 1.0, 0.5))
        for figure, value in ((ROOT_KL, root), (RL_PROXY, proxy), (RL_GOLD, gold))
    ]
    results = pl.DataFrame(rows, schema=["figure", "series", "x", "value"], orient="row")
    assert against_divergence(results) == {
        "proxy, 200 rankings": ([0.0, 2.0], [0.0, 1.0]),
        "gold, 200 rankings": ([0.0, 2.0], [0.0, 0.5]),
    }
