"""Figures of practice problems: pass@k of every model, beside the best constant answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import comb
from typing import Any

import polars as pl

from llm_assets.artifacts.tables import polars_schema

from .figures import Row, row
from .intervals import Estimate, difference, mean, proportion
from .jobs import ProblemRow
from .question_baselines import CONSTANT
from .schemas import Attempts

SUITE = "problems"
PASS_AT_1 = "pass@1"


def pass_at(samples: int, right: int, k: int) -> float:
    """Estimated probability that at least one of k solutions is right, given `right` of `samples`.

    It is 1 - C(n - c, k) / C(n, k) (Chen et al., arXiv:2107.03374). Raises ValueError if k exceeds `samples`.
    """
    if k > samples:
        raise ValueError(
            f"pass@{k} needs at least {k} samples, but the recipe asks for {samples}; raise rl_evaluation.samples"
        )
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def attempts_table(problems: Sequence[ProblemRow], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row per model and problem (schema Attempts). results: by model."""
    by_number = {problem.problem: problem for problem in problems}
    problem_columns = ("problem", "family", "level", "question", "answer")
    attempt_columns = ("greedy", "grade", "right", "refused", "samples", "tokens", "calls", "transcript")
    return pl.DataFrame(
        [
            {
                "model": model,
                **{name: getattr(by_number[attempt["problem"]], name) for name in problem_columns},
                **{name: attempt[name] for name in attempt_columns},
            }
            for model, attempts in results.items()
            for attempt in attempts
        ],
        None if problems else polars_schema(Attempts),
    )


def problem_groups(attempts: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """The attempts of each family, and of each of its levels."""
    for (family,), of_family in attempts.group_by("family", maintain_order=True):
        yield str(family), of_family
        for (level,), of_level in of_family.group_by("level", maintain_order=True):
            yield f"{family}, level {level}", of_level


def problem_figures(attempts: pl.DataFrame) -> list[Row]:
    """By model and group: pass@1, pass@k, greedy, refused and tokens.

    pass@1 and refused are shares of the sampled solutions, pass@k of problems, k being the number of samples; greedy is
    the share of greedy solutions that are right. Intervals are over problems.
    """
    rows = []
    for (model,), of_model in attempts.group_by("model", maintain_order=True):
        for group, of_group in problem_groups(of_model):
            for metric, estimate in _estimates(of_group).items():
                rows.append(row(str(model), SUITE, group, metric, estimate))
    return rows


def _estimates(attempts: pl.DataFrame) -> dict[str, Estimate]:
    rows = attempts.to_dicts()
    [samples] = attempts["samples"].unique()

    def passed(k: int) -> Estimate:
        return proportion([pass_at(attempt["samples"], attempt["right"], k) for attempt in rows])

    return {
        PASS_AT_1: passed(1),
        f"pass@{samples}": passed(samples),
        "greedy": proportion([float(attempt["greedy"]) for attempt in rows]),
        "refused": proportion([attempt["refused"] / attempt["samples"] for attempt in rows]),
        "tokens": mean([attempt["tokens"] for attempt in rows]),
    }


def constant_figures(attempts: pl.DataFrame) -> list[Row]:
    """By group, the share of problems that their most common answer gets right: no constant answer does better."""
    rows = []
    for group, of_group in problem_groups(attempts.unique("problem", maintain_order=True)):
        counts = Counter(of_group["answer"])
        answer = max(counts, key=lambda answer: counts[answer])
        marks = [float(other == answer) for other in of_group["answer"]]
        rows.append(row(CONSTANT, SUITE, group, PASS_AT_1, proportion(marks)))
    return rows


def problem_changes(before: pl.DataFrame, after: pl.DataFrame) -> list[Row]:
    """By group, the mean change of pass@1 from one model to a later one. before, after: of the same problems."""
    [earlier], [model] = (attempts["model"].unique().to_list() for attempts in (before, after))
    earlier_share = (pl.col("right") / pl.col("samples")).alias("before")
    pairs = after.join(before.select("problem", earlier_share), on="problem", validate="1:1")
    return [
        row(
            model,
            SUITE,
            group,
            f"change from {earlier}",
            difference((of_group["right"] / of_group["samples"]).to_list(), of_group["before"].to_list()),
        )
        for group, of_group in problem_groups(pairs)
    ]
