"""Rows of the reject tables, which are the same in every stage that rejects pages."""

from __future__ import annotations

from typing import Any

import polars as pl

from llm_assets.artifacts.tables import polars_schema

from .schemas import Document

DOCUMENT = tuple(polars_schema(Document))


def reject_row(row: dict[str, Any], stage: str, rule: str, value: str, threshold: str) -> dict[str, Any]:
    """A row of schema Rejects: the columns that identify the page (from `row`), and why it was rejected."""
    return {
        **{column: row[column] for column in DOCUMENT},
        "stage": stage,
        "rule": rule,
        "value": value,
        "threshold": threshold,
    }


def count_rules(rejects: pl.DataFrame) -> dict[str, int]:
    """Number of rejects by rule, in order of the rules' names."""
    return dict(rejects.group_by("rule").len().sort("rule").iter_rows())


class Tally:
    """How many pages a task of a filtering stage read, kept and rejected, by rule."""

    def __init__(self) -> None:
        self.pages = self.kept = 0
        self.rejects: dict[str, int] = {}

    def add(self, passed: pl.DataFrame, failed: pl.DataFrame) -> None:
        """Count a batch. `failed` has the column `rule`."""
        self.pages += len(passed) + len(failed)
        self.kept += len(passed)
        for rule, number in count_rules(failed).items():
            self.rejects[rule] = self.rejects.get(rule, 0) + number

    def stats(self) -> dict[str, Any]:
        """The counts as stats of a task."""
        return {
            "pages": self.pages,
            "kept": self.kept,
            "rejected": self.pages - self.kept,
            "rejects": dict(sorted(self.rejects.items())),
        }
