"""Figures of practice problems, compared with results by hand, and with a model that gives one answer to all."""

import random
from collections import Counter
from itertools import combinations

import polars as pl
import pytest

from llm_assets.evaluation.figures import figures_table, find, value_of
from llm_assets.evaluation.jobs import ProblemRow, ProblemsJob
from llm_assets.evaluation.problem_figures import (
    attempts_table,
    constant_figures,
    pass_at,
    problem_changes,
    problem_figures,
)
from llm_assets.evaluation.problem_sets import ranked, spread
from llm_assets.evaluation.problems import FAMILIES, Material
from llm_assets.evaluation.question_baselines import CONSTANT
from llm_assets.evaluation.solving import assistant_attempts
from tests.support.constant_model import ConstantModel


@pytest.mark.parametrize(("samples", "right", "k"), [(8, 0, 1), (8, 3, 1), (8, 3, 4), (8, 8, 8), (5, 1, 5), (6, 2, 3)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_solution(samples, right, k):
    draws = list(combinations([True] * right + [False] * (samples - right), k))
    assert pass_at(samples, right, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws))


def test_pass_at_k_needs_k_samples():
    with pytest.raises(ValueError, match="pass@9 needs at least 9 samples, but the recipe asks for 8"):
        pass_at(8, 1, 9)


PROBLEMS = [
    ProblemRow(10 * n + k, family, level, "", "", (), "")
    for n in range(5)
    for k, (family, level) in enumerate((("a", 0), ("a", 1), ("b", 0)))
]


def test_ranks_are_counted_within_family_and_level():
    expected = [(problem.problem // 10, problem.problem) for problem in PROBLEMS]
    assert [(rank, problem.problem) for rank, problem in ranked(PROBLEMS)] == expected


def test_a_small_selection_covers_every_family_and_level():
    lopsided = [*PROBLEMS[0::3], *PROBLEMS[1:4]]
    assert [problem.problem for problem in spread(lopsided, 4)] == [0, 1, 2, 10]
    assert len(spread(PROBLEMS, 99)) == len(PROBLEMS)


def attempt(model, problem, right, greedy, level=0, answer="1"):
    return {
        "model": model,
        "problem": problem,
        "family": "sums",
        "level": level,
        "question": "q",
        "answer": answer,
        "greedy": greedy,
        "grade": "right" if greedy else "refused",
        "right": right,
        "refused": 4 - right,
        "samples": 4,
        "tokens": 10 * problem,
        "calls": 0,
        "transcript": "",
    }


SFT = pl.DataFrame([attempt("sft", 1, 1, False), attempt("sft", 2, 0, False, level=1, answer="2")])
RL = pl.DataFrame([attempt("rl", 1, 4, True), attempt("rl", 2, 1, False, level=1, answer="2")])


def test_figures_agree_with_results_by_hand():
    table = figures_table(problem_figures(SFT))
    family = find(table, group="sums").select("metric", "value").iter_rows()
    assert dict(family) == {"pass@1": 0.125, "pass@4": 0.5, "greedy": 0.0, "refused": 0.875, "tokens": 15.0}
    assert value_of(table, group="sums, level 0", metric="pass@1") == 0.25
    assert value_of(table, group="sums, level 1", metric="pass@1") == 0.0
    assert find(table, group="sums")["n"].unique().to_list() == [2]


def test_no_right_solution_leaves_an_interval_that_is_no_point():
    [none] = find(figures_table(problem_figures(SFT)), group="sums, level 1", metric="pass@1").to_dicts()
    assert none["low"] == 0 and none["high"] > 0.5  # of one problem


def test_a_change_is_that_of_the_same_problems():
    table = figures_table(problem_changes(SFT, RL))
    assert value_of(table, group="sums", metric="change from sft") == pytest.approx((0.75 + 0.25) / 2)
    assert value_of(table, group="sums, level 0", metric="change from sft") == 0.75
    assert set(table["model"]) == {"rl"}


def letter_problems(count):
    """Problems of counting letters, of all levels."""
    material = Material(["banana", "cab", "tea", "letter", "balloon", "storm", "mountain", "lighthouse"], [], [])
    rng, rows = random.Random(1), []
    while len(rows) < count:
        problem = FAMILIES["letters_at_once"].make(rng, len(rows) % 2, material)
        if problem is not None:
            answer = (problem.question, problem.answer)
            rows.append(ProblemRow(len(rows), "letters_at_once", len(rows) % 2, *answer, (), ""))
    return rows


@pytest.mark.parametrize("answer", ["1", "2"])
def test_no_model_that_always_gives_one_answer_beats_the_best_constant_answer(answer):
    rows = letter_problems(24)
    job = ProblemsJob(("letters_at_once",), tuple(rows), samples=2, temperature=1.0, max_tokens=8, seed=1)
    attempts = attempts_table(rows, {"rl": assistant_attempts(ConstantModel(answer), None, job)})
    model, constant = (figures_table(make(attempts)) for make in (problem_figures, constant_figures))
    share = sum(row.answer == answer for row in rows) / 24
    for metric in ("pass@1", "pass@2", "greedy"):
        assert value_of(model, group="letters_at_once", metric=metric) == pytest.approx(share, abs=1e-6)
    best, most = Counter(row.answer for row in rows).most_common(1)[0]
    limit = value_of(constant, model=CONSTANT, group="letters_at_once")
    assert limit == pytest.approx(most / 24, abs=1e-6) and (share == pytest.approx(limit, abs=1e-6) or answer != best)
