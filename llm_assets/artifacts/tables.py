"""Tables: parquet files whose schema is a pandera model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from .errors import ArtifactError


class TableInvalid(ArtifactError):
    """Rows that break their table's schema; `failures` holds up to 20 of them."""

    def __init__(self, message: str, failures: pl.DataFrame | None = None):
        super().__init__(message)
        self.failures = failures


@lru_cache
def _schema(model: type) -> Any:
    return model.to_schema()


@lru_cache
def _polars_schema(model: type) -> pl.Schema:
    return pl.Schema({name: column.dtype.type for name, column in _schema(model).columns.items()})


def polars_schema(model: type) -> pl.Schema:
    """Column types of a pandera model, in the model's order."""
    return _polars_schema(model)


@lru_cache
def arrow_schema(model: type) -> pa.Schema:
    return pl.DataFrame(schema=_polars_schema(model)).to_arrow().schema


def validate(model: type, frame: pl.DataFrame) -> None:
    """Check every row. Raises TableInvalid with the failing rows (pandera checks only the schema of a lazy frame)."""
    import pandera.errors

    try:
        _schema(model).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        failures = error.failure_cases.head(20)
        raise TableInvalid(f"{len(error.failure_cases)} failures of {model.__name__}: {failures.to_dicts()[:3]}", failures) from error


def row_count(path: Path) -> int:
    """Rows of a parquet file, from its footer."""
    return pl.scan_parquet(path).select(pl.len()).collect().item()
