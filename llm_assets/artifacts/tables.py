"""Tables: parquet files whose schema is a pandera model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import ArtifactError

# A batch ends at this many rows. It bounds memory (with a page's bound of 8 MiB) and amortises the calls: below about
# 100 pages the fixed cost of a call shows.
BATCH_ROWS = 512


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


@lru_cache
def _violations(model: type) -> list[pl.Expr] | None:
    """The model's rules as expressions that are true where a rule is broken; None where one of them has no such form.

    pandera runs every check of every column as queries of its own: 60 to 110 ms a frame of 27 to 38 columns however few
    its rows. As one query the same rules take about 1 ms; pandera is asked only where one is broken.
    """
    schema = _schema(model)
    if schema.checks or schema.unique or schema.parsers:
        return None
    broken: list[pl.Expr] = []
    for name, column in schema.columns.items():
        values = pl.col(name)
        if column.parsers or not column.required or column.regex:
            return None
        if not column.nullable:
            broken.append(
                (values.is_null() | values.is_nan() if column.dtype.type.is_float() else values.is_null()).any()
            )
        if column.unique:
            broken.append(values.is_duplicated().any())
        for check in column.checks:
            said = check.statistics or {}
            if check.name == "greater_than_or_equal_to":
                kept = values >= said["min_value"]
            elif check.name == "less_than_or_equal_to":
                kept = values <= said["max_value"]
            elif check.name == "isin":
                kept = values.is_in(list(said["allowed_values"]))
            elif check.name == "str_matches":
                kept = values.str.contains(f"^(?:{said['pattern'].removeprefix('^')})")
            elif (
                check.name == "str_length"
                and said.get("min_value") is not None
                and said.get("max_value") is None
                and said.get("exact_value") is None
            ):
                kept = values.str.len_chars() >= said["min_value"]
            else:
                return None
            broken.append((~kept).any())
    return [expression.alias(str(place)) for place, expression in enumerate(broken)]


def validate(model: type, frame: pl.DataFrame) -> None:
    """Check every row. Raises TableInvalid with the failing rows (pandera checks only the schema of a lazy frame)."""
    violations = _violations(model)
    if violations is not None and frame.schema == _polars_schema(model) and not any(frame.select(violations).row(0)):
        return
    import pandera.errors

    try:
        _schema(model).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        failures = error.failure_cases.head(20)
        raise TableInvalid(
            f"{len(error.failure_cases)} failures of {model.__name__}: {failures.to_dicts()[:3]}", failures
        ) from error


def row_count(path: Path) -> int:
    """Rows of a parquet file, from its footer."""
    return pl.scan_parquet(path).select(pl.len()).collect().item()


def batches(table: Path, columns: list[str] | None = None) -> Iterator[pl.DataFrame]:
    """A parquet table in frames of at most BATCH_ROWS rows, in file order."""
    for batch in pq.ParquetFile(table).iter_batches(BATCH_ROWS, columns=columns):
        yield pl.DataFrame(batch)
