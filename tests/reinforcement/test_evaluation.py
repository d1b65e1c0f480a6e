"""The numbers of the RL evaluation, compared with results by hand."""

from itertools import combinations

import polars as pl
import pytest

from llm_assets.evaluation.abilities import abilities_table
from llm_assets.reinforcement.jobs import ProblemRow
from llm_assets.reinforcement.rl_checkpoint import ranked, spread
from llm_assets.reinforcement.rl_evaluation import headline, pass_at


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


def attempt(model, family, right, greedy):
    return {
        "model": model,
        "problem": 1,
        "family": family,
        "level": 0,
        "question": "q",
        "answer": "a",
        "greedy": greedy,
        "grade": "right" if greedy else "refused",
        "right": right,
        "refused": 4 - right,
        "samples": 4,
        "tokens": 10,
        "calls": 0,
        "transcript": "",
    }


def test_headline_agrees_with_results_by_hand():
    attempts = pl.DataFrame(
        [
            attempt("sft", "sums", 1, False),
            attempt("sft", "sums", 0, False),
            attempt("rl", "sums", 4, True),
            attempt("rl", "sums", 1, False),
        ]
    )
    grades = {"right": 0.8, "refused": 0.1, "wrong": 0.1, "questions": 10}
    abilities = abilities_table(
        {"known": grades, "fictitious": {"right": 0.0, "refused": 0.9, "wrong": 0.1, "questions": 10}},
        {
            "known": {**grades, "right": 0.7},
            "fictitious": {"right": 0.0, "refused": 0.6, "wrong": 0.4, "questions": 10},
        },
    )
    numbers = headline(attempts, abilities, 4)
    assert numbers["families"] == {"sft": {"sums": 0.125}, "rl": {"sums": 0.625}}
    assert numbers["passed"]["sft"]["sums, level 0"] == {
        "problems": 2,
        "greedy": 0.0,
        "refused": 0.875,
        "tokens": 10.0,
        "pass@1": 0.125,
        "pass@4": 0.5,
    }
    assert numbers["refused"] == {"sft": {"sums": 0.875}, "rl": {"sums": 0.375}}
    assert numbers["changes"] == {"known": -0.1, "fictitious": -0.3}
