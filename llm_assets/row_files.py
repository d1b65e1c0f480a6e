"""Rows of the user's files, JSONL (also compressed) and Parquet: conversations, preferences and texts.

A row that cannot be read becomes a problem with its number, and reading continues, in bounded memory.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from llm_assets.json_values import parse_json

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
MAX_LINE_BYTES = 16 << 20  # a longer line is neither a conversation nor a document
PARQUET_BATCH_ROWS = 256
FIELDS_SHOWN = 8  # of a row or file, in messages


class RowFileError(ValueError):
    """The file cannot be read at all; the message names it."""


@dataclass(frozen=True)
class FileRow:
    """One row of a file. number: of its line or, in Parquet, of its row, from 1. problem: why it has no value."""

    number: int
    value: Any = None
    problem: str = ""


def read_rows(path: Path, columns: Iterable[str] | None = None, size: int | None = None) -> Iterator[FileRow]:
    """Read every row of a file, in order. Blank lines are no rows.

    columns: those of a Parquet file to read, if it has them; None reads all. size: bytes of a JSONL file to read, which
    end with a line; None reads all. Values are those of JSON, or what pyarrow makes of a Parquet value. Raises
    RowFileError if the file is missing, its name has none of the `ENDINGS`, or it is no Parquet file. Where a
    compressed file breaks off, the last row is a problem.
    """
    if not path.is_file():
        raise RowFileError(f"{path.absolute()}: no such file")
    if not path.name.endswith(ENDINGS):
        raise RowFileError(
            f"{path}: the name ends with neither {', '.join(ENDINGS[:-1])} nor {ENDINGS[-1]}; convert the file"
        )
    return _parquet_rows(path, columns) if path.suffix == ".parquet" else _json_rows(path, size)


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return zstd.open(path, "rb") if path.suffix == ".zst" else path.open("rb")


def _json_rows(path: Path, size: int | None) -> Iterator[FileRow]:
    with _open(path) as file:
        number = 0
        while size is None or file.tell() < size:
            number += 1
            try:
                line = file.readline(MAX_LINE_BYTES)
                is_too_long = len(line) == MAX_LINE_BYTES and not line.endswith(b"\n")
                if is_too_long:
                    _skip_line(file)
            except (EOFError, OSError, zlib.error, zstd.ZstdError) as error:
                yield FileRow(number, problem=f"the file breaks off: {error}")
                return
            if not line:
                return
            if is_too_long:
                yield FileRow(number, problem=f"longer than {MAX_LINE_BYTES:,} bytes")
            elif line.strip():
                yield _json_row(number, line)


def _json_row(number: int, line: bytes) -> FileRow:
    try:
        return FileRow(number, parse_json(line))
    except (ValueError, RecursionError) as error:
        return FileRow(number, problem=f"not JSON: {error}")


def _skip_line(file: IO[bytes]) -> None:
    """Read the rest of a line that is too long."""
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def _parquet_rows(path: Path, columns: Iterable[str] | None) -> Iterator[FileRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Pre-buffering would hold the whole columns of a row group.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            names = file.schema_arrow.names
            read = None if columns is None else [name for name in columns if name in names]
            number = 1
            for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=read):
                yield from _rows_of_batch(batch, number)
                number += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise RowFileError(f"{path}: {error}") from error


def _rows_of_batch(batch: pa.RecordBatch, number: int) -> Iterator[FileRow]:
    """The rows of a batch; those whose strings are not UTF-8, which Parquet does not check, are problems."""
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError as error:
        if len(batch) == 1:
            yield FileRow(number, problem=f"not UTF-8: {error}")
            return
        for place in range(len(batch)):
            yield from _rows_of_batch(batch.slice(place, 1), number + place)
        return
    for place, row in enumerate(rows):
        yield FileRow(number + place, row)


def parquet_columns(path: Path) -> list[str] | None:
    """The columns of a Parquet file; None for other files. Raises RowFileError if it is none."""
    if path.suffix != ".parquet":
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise RowFileError(f"{path}: {error}") from error


def shown_fields(row: Mapping[Any, Any] | Iterable[Any]) -> str:
    """The names of a row's fields, sorted, for a message; ``none`` if there are none."""
    return ", ".join(sorted(map(str, row))[:FIELDS_SHOWN]) or "none"
