"""Tables: parquet files whose schema is a pandera model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import ArtifactError

# Rows per batch. The bound limits memory (a page has at most 8 MiB) and amortises the fixed cost of a call, which shows
# below about 100 pages.
BATCH_ROWS = 512
INDEX_ROWS = 8_192  # rows per batch of tables without texts, whose rows take some hundred bytes

Files = Path | str | Iterable[Path | str]  # of tables


class TableInvalid(ArtifactError):
    """Rows violate their table's schema; `failures` holds up to 20 of them."""

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
    """Column types of a pandera model, in the order of the model."""
    return _polars_schema(model)


@lru_cache
def arrow_schema(model: type) -> pa.Schema:
    """The Arrow schema of a pandera model."""
    return pl.DataFrame(schema=_polars_schema(model)).to_arrow().schema


@lru_cache
def _violations(model: type) -> list[pl.Expr] | None:
    """The model's rules as expressions that are true if a rule is violated; None if a rule has no such form.

    pandera runs every check of every column as a separate query: 60 to 110 ms per frame of 27 to 38 columns, even for a
    few rows. As one query, the same rules take about 1 ms. pandera then runs only if a rule is violated.
    """
    schema = _schema(model)
    if schema.checks or schema.unique or schema.parsers:
        return None
    violations: list[pl.Expr] = []
    for name, column in schema.columns.items():
        values = pl.col(name)
        if column.parsers or not column.required or column.regex:
            return None
        if not column.nullable:
            missing = values.is_null() | values.is_nan() if column.dtype.type.is_float() else values.is_null()
            violations.append(missing.any())
        if column.unique:
            violations.append(values.is_duplicated().any())
        for check in column.checks:
            passes = _passes(check, values)
            if passes is None:
                return None
            violations.append((~passes).any())
    return [expression.alias(str(number)) for number, expression in enumerate(violations)]


def _passes(check: Any, values: pl.Expr) -> pl.Expr | None:
    """An expression that is true for the values that pass a pandera check; None for an unknown kind of check."""
    statistics = check.statistics or {}
    if check.name == "greater_than_or_equal_to":
        return values >= statistics["min_value"]
    if check.name == "greater_than":
        return values > statistics["min_value"]
    if check.name == "less_than_or_equal_to":
        return values <= statistics["max_value"]
    if check.name == "isin":
        return values.is_in(list(statistics["allowed_values"]))
    if check.name == "str_matches":
        return values.str.contains(f"^(?:{statistics['pattern'].removeprefix('^')})")
    if check.name == "str_length":
        least, most, exact = (statistics.get(name) for name in ("min_value", "max_value", "exact_value"))
        if least is not None and most is None and exact is None:
            return values.str.len_chars() >= least
    return None


def validate(model: type, frame: pl.DataFrame) -> None:
    """Validate every row of a frame. Raises TableInvalid with the failing rows.

    The frame is not lazy, because pandera checks only the schema of a lazy frame.
    """
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


def read_table(
    files: Files, columns: Sequence[str] | None = None, schema: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """The rows of parquet files, in the order of the files. See `scan_table`."""
    frame = scan_table(files, schema)
    return (frame if columns is None else frame.select(columns)).collect()


def scan_table(files: Files, schema: Mapping[str, Any] | None = None) -> pl.LazyFrame:
    """The rows of one or several parquet files of the same columns, read when they are collected.

    Each file is read under its exact name: ``[``, ``*`` and ``?`` in a path are no pattern, and ``key=value`` is no
    column. Files of tables bear the names of WARC files, and the data folder may be anywhere.
    schema: the columns of the result if there is no file; without it, Polars raises an error.
    """
    paths = [files] if isinstance(files, (str, Path)) else list(files)
    if not paths and schema is not None:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(paths, glob=False, hive_partitioning=False)


def write_table(frame: pl.DataFrame, file: Path | str) -> None:
    """Write rows into a parquet file of this exact name, for a file that no schema describes."""
    with open(file, "wb") as stream:
        frame.write_parquet(stream)


def read_json_lines(file: Path, infer_schema_length: int | None = 100) -> pl.DataFrame:
    """The rows of a file of this exact name that holds a JSON object per line.

    infer_schema_length: how many lines decide the types of columns; None is all.
    """
    return pl.read_ndjson(file.read_bytes(), infer_schema_length=infer_schema_length)


def row_count(path: Path) -> int:
    """The number of rows of a parquet file, from its footer."""
    return scan_table(path).select(pl.len()).collect().item()


def row_groups(stream: BinaryIO) -> Iterator[Callable[[list[str]], pl.DataFrame]]:
    """For each row group of an open parquet file, a function that reads some of its columns, and nothing else."""
    file = pq.ParquetFile(stream)

    def read(number: int, columns: list[str]) -> pl.DataFrame:
        return pl.DataFrame(file.read_row_group(number, columns)).select(columns)

    for number in range(file.num_row_groups):
        yield partial(read, number)


def chosen_batches(table: Path, columns: list[str], is_chosen: pl.Expr, deciding: list[str]) -> Iterator[pl.DataFrame]:
    """Columns of the rows of a parquet file that are chosen by others, `deciding`, in file order.

    Of a row group without a chosen row, only the deciding columns are read.
    """
    with open(table, "rb") as stream:
        for read in row_groups(stream):
            chosen = read(deciding).with_columns(_is_chosen=is_chosen)["_is_chosen"]
            if chosen.any():
                yield read(columns).filter(chosen)


def batches(table: Path, columns: list[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
    """Read a parquet file in frames of at most `rows` rows, in file order."""
    for batch in pq.ParquetFile(table).iter_batches(rows, columns=columns):
        yield pl.DataFrame(batch)
