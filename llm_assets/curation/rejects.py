"""Rows of the reject tables, the same in every stage that rejects."""

from __future__ import annotations

from typing import Any

import polars as pl

from llm_assets.artifacts.tables import polars_schema

from .schemas import Document

DOCUMENT = tuple(polars_schema(Document))


def reject_row(row: dict[str, Any], stage: str, rule: str, value: str, threshold: str) -> dict[str, Any]:
    """The reject of a page: what leads back to it (from `row`), and why it went."""
    return {
        **{column: row[column] for column in DOCUMENT},
        "stage": stage,
        "rule": rule,
        "value": value,
        "threshold": threshold,
    }


def count_rules(rejects: pl.DataFrame) -> dict[str, int]:
    """Rejects by rule, in order of name."""
    return dict(rejects.group_by("rule").len().sort("rule").iter_rows())


class Tally:
    """What a part of a stage that filters was given, kept and rejected, by rule."""

    def __init__(self) -> None:
        self.pages = self.kept = 0
        self.rejects: dict[str, int] = {}

    def add(self, passed: pl.DataFrame, failed: pl.DataFrame) -> None:
        """Count a batch; `failed` has the column `rule`."""
        self.pages += len(passed) + len(failed)
        self.kept += len(passed)
        for rule, number in count_rules(failed).items():
            self.rejects[rule] = self.rejects.get(rule, 0) + number

    def stats(self) -> dict[str, Any]:
        return {
            "pages": self.pages,
            "kept": self.kept,
            "rejected": self.pages - self.kept,
            "rejects": dict(sorted(self.rejects.items())),
        }
