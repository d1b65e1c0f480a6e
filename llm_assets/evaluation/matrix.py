"""Figures as a matrix for pages and for Dagster: groups by models, with intervals, beside the best baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from .figures import MODELS, find

Better = Literal["higher", "lower", "neither"]
# Decimal places of the metrics that are not shares.
DIGITS = {"bits_per_byte": 3, "tokens": 1, "gold": 2, "proxy": 2, "true": 2, "false": 2, "uncheckable": 2}
DIGITS |= {"perplexity": 2, "word_perplexity": 2, "byte_perplexity": 3}  # of benchmarks
CHANGE = "change from "
# Metrics of open answers, with their titles on pages.
OPEN_ANSWERS = {
    "precision": "true among checkable statements",
    "true": "true statements per answer",
    "false": "false statements per answer",
    "uncheckable": "uncheckable statements per answer",
    "gold": "gold signal",
    "proxy": "reward model, standard deviations",
    "better than sft": "better than SFT's answer by the gold signal",
    "equal to sft": "equal",
    "worse than sft": "worse",
    "preferred to sft": "better among those not equal",
    "finished": "finished answers",
    "tokens": "tokens",
}


@dataclass(frozen=True)
class Cell:
    """A figure as text. standing: ``above`` or ``below`` if the whole interval is better or worse than the best
    baseline, else empty. share: per cent to fill the cell by; 0 for metrics that are no shares.
    """

    value: str
    interval: str
    standing: str = ""
    share: float = 0.0


@dataclass(frozen=True)
class MatrixRow:
    """A group's figures. baseline: the best baseline's name and figure; empty texts if there is none."""

    title: str
    cells: Mapping[str, Cell]
    baseline: str
    baseline_cell: Cell
    n: int


@dataclass(frozen=True)
class Matrix:
    """Rows by group; columns by model, in the order of their training.

    released: the column of the exported model; empty if none is marked.
    """

    models: Sequence[str]
    rows: Sequence[MatrixRow]
    released: str = ""

    @property
    def has_baselines(self) -> bool:
        return any(row.baseline for row in self.rows)

    def markdown(self) -> str:
        """The matrix as a Markdown table."""
        lines = [f"| | {' | '.join(self.models)} | best baseline | n |", f"|---|{'--:|' * len(self.models)}---|--:|"]
        for row in self.rows:
            cells = [f"{cell.value} ({cell.interval})" if cell.interval else cell.value for cell in row.cells.values()]
            lines.append(
                f"| {row.title} | {' | '.join(cells)} | {row.baseline_cell.value} {row.baseline} | {row.n:,} |"
            )
        return "\n".join(lines)


def matrix(
    figures: pl.DataFrame,
    suite: str,
    metric: str | Callable[[str], str],
    title: Callable[[str], str] = str,
    better: Better = "higher",
) -> Matrix:
    """The figures of one suite, a row per group.

    figures: a table EvaluationRows. metric: of all groups, or a function that gives each group's. title: of a group.
    better: which figures are better than a baseline's; with neither, no baseline is shown.
    """
    of_suite = find(figures, suite=suite)
    of_group = (lambda group: metric) if isinstance(metric, str) else metric
    groups = of_suite["group"].unique(maintain_order=True)
    rows = {title(group): _by_model(of_suite, group=group, metric=of_group(group)) for group in groups}
    return _matrix(rows, better)


def metric_matrix(figures: pl.DataFrame, suite: str, group: str, metrics: Mapping[str, str]) -> Matrix:
    """The figures of one group, a row per metric. metrics: their titles."""
    of_group = find(figures, suite=suite, group=group)
    return _matrix({title: _by_model(of_group, metric=metric) for metric, title in metrics.items()}, "neither")


def _by_model(figures: pl.DataFrame, **where: str) -> dict[str, Mapping[str, Any]]:
    return {row["model"]: row for row in find(figures, **where).iter_rows(named=True)}


def _matrix(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], better: Better) -> Matrix:
    present = {model for by_model in rows.values() for model in by_model}
    models = [model for model in MODELS if model in present]
    return Matrix(models, [_row(title, by_model, models, better) for title, by_model in rows.items() if by_model])


def _row(title: str, by_model: Mapping[str, Mapping[str, Any]], models: Sequence[str], better: Better) -> MatrixRow:
    baselines = {name: row for name, row in by_model.items() if name not in MODELS}
    best: str = ""
    if baselines and better != "neither":
        pick = max if better == "higher" else min
        best = pick(baselines, key=lambda name: baselines[name]["value"])
    limit = baselines[best]["value"] if best else None
    cells = {model: cell(by_model.get(model), limit, better) for model in models}
    return MatrixRow(title, cells, best, cell(baselines.get(best)), max(row["n"] for row in by_model.values()))


def cell(row: Mapping[str, Any] | None, baseline: float | None = None, better: Better = "neither") -> Cell:
    """A row of the table `evaluation` as text; empty without a row. baseline: the best baseline's value."""
    if row is None:
        return Cell("", "")
    value, low, high = (row[name] for name in ("value", "low", "high"))
    standing = ""
    if baseline is not None and low is not None and better != "neither":
        is_more, is_less = low > baseline, high < baseline
        standing = "above" if (is_more if better == "higher" else is_less) else standing
        standing = "below" if (is_less if better == "higher" else is_more) else standing
    interval = "" if low is None else f"{_bare(row['metric'], low)} to {_bare(row['metric'], high)}"
    is_share = row["metric"] not in DIGITS and not row["metric"].startswith(CHANGE)
    return Cell(text(row["metric"], value), interval, standing, round(100 * value, 1) if is_share else 0.0)


def text(metric: str, value: float) -> str:
    """A value as pages show it: a share in per cent, a change in percentage points."""
    return _bare(metric, value) + ("" if metric in DIGITS else " points" if metric.startswith(CHANGE) else " %")


def _bare(metric: str, value: float) -> str:
    if metric in DIGITS:
        return f"{value:.{DIGITS[metric]}f}"
    return f"{100 * value:+.1f}" if metric.startswith(CHANGE) else f"{100 * value:.1f}"
