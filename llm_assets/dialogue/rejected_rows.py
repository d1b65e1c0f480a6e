"""What a run says about the rows of the user's files: how many were used, and which were not, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.tables import read_table

SHOWN_ROWS = 20


def joined(first: CheckOutcome, second: CheckOutcome) -> CheckOutcome:
    """Two outcomes of `rejects_outcome` as one."""
    return CheckOutcome(
        first.passed and second.passed,
        f"{first.summary}; {second.summary}",
        [*first.failures, *second.failures][:SHOWN_ROWS],
        {name: count + second.numbers[name] for name, count in first.numbers.items()},
    )


def rejects_outcome(used: Mapping[str, int], rejects: Sequence[Path], noun: str) -> CheckOutcome:
    """The outcome of a check that passes if no row of the files was rejected.

    used: by name of the file, how many of its rows are used. rejects: tables with file, line and reason. noun: what the
    rows are.
    """
    if not used:
        return CheckOutcome(True, "the recipe names no file")
    rows = read_table(rejects).filter(pl.col("file").is_in(list(used))) if rejects else pl.DataFrame()
    parts = [f"{name}: {count:,} {noun}" for name, count in used.items()]
    if len(rows):
        by_file = rows.group_by("file", maintain_order=True).agg(
            pl.len(), pl.col("line").first(), pl.col("reason").first()
        )
        parts += [
            f"{name}: {count:,} rows rejected, the first in row {line}: {reason}"
            for name, count, line, reason in by_file.iter_rows()
        ]
    numbers = {"used": sum(used.values()), "rejected": len(rows)}
    return CheckOutcome(not len(rows), "; ".join(parts), rows.head(SHOWN_ROWS).to_dicts(), numbers)
