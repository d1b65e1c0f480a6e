"""Rows of the reject tables, the same in every stage that rejects."""

from __future__ import annotations

from typing import Any

import polars as pl

from llm_assets.artifacts.tables import polars_schema

from .schemas import Document

DOCUMENT = tuple(polars_schema(Document))


def reject_row(row: dict[str, Any], stage: str, rule: str, value: str, threshold: str) -> dict[str, Any]:
    """The reject of a page: what leads back to it (from `row`), and why it went."""
    return {**{column: row[column] for column in DOCUMENT}, "stage": stage, "rule": rule, "value": value, "threshold": threshold}


def count_rules(rejects: pl.DataFrame) -> dict[str, int]:
    """Rejects by rule, in order of name."""
    return dict(rejects.group_by("rule").len().sort("rule").iter_rows())
