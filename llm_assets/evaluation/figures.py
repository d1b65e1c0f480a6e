"""Figures of the evaluation suite: of every checkpoint and of baselines, in one long table (schema EvaluationRows)."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import polars_schema, read_table

from .intervals import Estimate
from .schemas import EvaluationRows

EVALUATION = "evaluation"  # the table's name, in every evaluation and in the scorecard
# The checkpoints that the suite asks, in the order of their training. All other models of the table are baselines.
MODELS = {
    "base": "base_checkpoint",
    "ablation": "ablation_checkpoint",
    "sft": "sft_checkpoint",
    "rl": "rl_checkpoint",
    "dpo": "dpo_checkpoint",
    "rlhf": "rlhf_checkpoint",
}
ABLATION = "ablation"  # the only one of them that is never released
DIGITS = 6

Row = dict[str, Any]


def released_model(assets: Container[str]) -> str:
    """The model that is exported: the last one in the order of training whose checkpoint is among these assets."""
    return next(model for model in reversed(MODELS) if model != ABLATION and MODELS[model] in assets)


def row(model: str, suite: str, group: str, metric: str, estimate: Estimate) -> Row:
    """A row of the table. An end that is NaN was not measured."""
    ends = {
        name: None if math.isnan(end) else round(end, DIGITS)
        for name, end in (("low", estimate.low), ("high", estimate.high))
    }
    place = {"model": model, "suite": suite, "group": group, "metric": metric}
    return {**place, "value": round(estimate.value, DIGITS), **ends, "n": estimate.n}


def once(value: float, n: int) -> Estimate:
    """A figure that was measured once over all n observations, so that it has no interval."""
    return Estimate(value, math.nan, math.nan, n)


def figures_table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a table (schema EvaluationRows), in their order."""
    return pl.DataFrame(list(rows), schema=polars_schema(EvaluationRows))


def read_figures(*evaluations: Artifact) -> pl.DataFrame:
    """The tables of several evaluations as one."""
    files = [evaluation.table(EVALUATION) for evaluation in evaluations]
    return pl.concat([figures_table([]), *(read_table(of_evaluation) for of_evaluation in files if of_evaluation)])


def find(figures: pl.DataFrame, **where: str | Sequence[str]) -> pl.DataFrame:
    """The rows whose columns have these values, or one of several: ``find(figures, metric="right", model=MODELS)``."""
    wanted = [pl.col(name).is_in([value] if isinstance(value, str) else list(value)) for name, value in where.items()]
    return figures.filter(*wanted)


def value_of(figures: pl.DataFrame, **where: str) -> float:
    """The value of the only row with these column values; NaN if there is none."""
    values = find(figures, **where)["value"]
    return float(values.item()) if len(values) else math.nan


def nested(figures: pl.DataFrame) -> dict[str, Any]:
    """Values by suite, group, metric and model: the part of the table that goes into the record and to the tracking
    server.
    """
    by_suite: dict[str, Any] = {}
    for suite, group, metric, model, value in figures.select("suite", "group", "metric", "model", "value").iter_rows():
        by_suite.setdefault(suite, {}).setdefault(group, {}).setdefault(metric, {})[model] = value
    return by_suite
