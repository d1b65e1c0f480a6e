"""The process of `locked_sql`: reads a job from standard input, and writes its rows or its error to standard output."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

import duckdb
from fsspec import AbstractFileSystem

PROCESS_MEMORY = 1 << 30  # bytes of addresses for Python and DuckDB themselves, which use little of them
OUTPUT = 8 << 20  # bytes of the result, about
CUT = "…"  # where something was left out
PROTOCOL = "table"
READ_ONLY = "tables can only be read"
NAME = re.compile(r"[a-z_][a-z0-9_]*")
SETTINGS = {
    "temp_directory": "",  # nothing is spilled to the disk
    "python_enable_replacements": "false",  # variables of this program are no tables
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}


class Refused(ValueError):
    """A statement that is not executed; the message says why."""


class TableFiles(AbstractFileSystem):
    """The files of the tables by the names under which DuckDB opens them, to be read and not to be written.

    `allowed_paths` would allow writing to them too: DuckDB 2.0 has SELECTs that begin with ``WITH x AS (COPY … TO …)``.
    """

    protocol = PROTOCOL
    cachable = False

    def __init__(self, files: dict[str, str]):
        super().__init__()
        self.files = files

    def _file(self, path: str) -> str:
        try:
            return self.files[self._strip_protocol(path)]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _open(self, path: str, mode: str = "rb", **options: Any) -> BinaryIO:
        if mode != "rb":
            raise PermissionError(READ_ONLY)
        return open(self._file(path), "rb")

    open = _open

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {"name": self._strip_protocol(path), "size": os.stat(self._file(path)).st_size, "type": "file"}

    def exists(self, path: str, **options: Any) -> bool:
        return self._strip_protocol(path) in self.files

    def isfile(self, path: str) -> bool:
        return self.exists(path)

    def isdir(self, path: str) -> bool:
        return False

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(os.stat(self._file(path)).st_mtime, UTC)

    def glob(self, path: str, **options: Any) -> list[str]:
        return [path] if self.exists(path) else []


def only_select(sql: str) -> duckdb.Statement:
    """The only statement of a text. Raises Refused unless it is a SELECT."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise Refused(f"give one statement, not {len(statements)}")
    (statement,) = statements
    try:
        kind = statement.type.name
    except ValueError:  # DuckDB has kinds that its Python package does not know, such as UPDATE EXTENSIONS
        kind = ""
    if kind != "SELECT":
        raise Refused(f"only SELECT is allowed, not {_in_the_users_words(statement, kind)}")
    return statement


def _in_the_users_words(statement: duckdb.Statement, kind: str) -> str:
    """What a statement that is no SELECT begins with. kind: as DuckDB names it, which for INSTALL is LOAD."""
    if kind == "MULTI":
        return "PIVOT without its values; name them, as in ON column IN ('a', 'b')"
    word = re.match(r"\w*", statement.query.upper()).group()  # type: ignore[union-attr]
    return kind if word in ("", "WITH") else word


def locked_connection(job: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """A connection with a view of each table, which can open the tables' files and no others."""
    config = {**SETTINGS, "memory_limit": f"{job['memory']}B", "threads": str(job["threads"])}
    connection = duckdb.connect(config=config)
    files = {
        f"{table}/{number}.parquet": file for table, paths in job["tables"].items() for number, file in enumerate(paths)
    }
    connection.register_filesystem(TableFiles(files))
    for table, paths in job["tables"].items():
        if not NAME.fullmatch(table):
            raise ValueError(f"{table!r} is no name of a table")
        listed = ", ".join(f"'{PROTOCOL}://{table}/{number}.parquet'" for number in range(len(paths)))
        connection.execute(
            f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)'
        )
    connection.execute(f"SET allowed_directories = ['{PROTOCOL}://']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@dataclass
class PlainValues:
    """Makes JSON values. characters: of a text. left: bytes of JSON that may still be written, about."""

    characters: int
    left: int

    def plain(self, value: Any) -> Any:
        """A JSON value: what is too long ends with "…"; numbers that JSON lacks, dates and bytes are texts."""
        if self.left <= 0:
            return CUT
        if isinstance(value, dict):
            return self._plain_struct(value)
        if isinstance(value, (list, tuple)):
            return self._plain_list(value)
        scalar = self._scalar(value)
        self.left -= len(json.dumps(scalar)) + 2
        return scalar

    def _plain_struct(self, value: dict[Any, Any]) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for name, item in value.items():
            if self.left <= 0:
                items[CUT] = CUT
                break
            items[self._scalar(str(name))] = self.plain(item)
            self.left -= len(json.dumps(str(name)[: self.characters])) + 4
        return items

    def _plain_list(self, value: Sequence[Any]) -> list[Any]:
        items: list[Any] = []
        for item in value:
            items.append(self.plain(item))
            if self.left <= 0:
                break
        if len(items) < len(value):
            items.append(CUT)
        return items

    def _scalar(self, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if abs(value) < 1 << 53 else str(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        text = value[: self.characters].hex() if isinstance(value, bytes) else str(value)
        return text if len(text) <= self.characters else f"{text[: self.characters]}{CUT}"


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The result of a job. Raises Refused, and DuckDB's errors."""
    began = time.perf_counter()
    statement = only_select(job["sql"])
    connection = locked_connection(job)
    connection.execute(statement)
    description = connection.description
    rows: list[list[Any]] = []
    values, to_skip = PlainValues(job["characters"], OUTPUT), job["skip"]
    more = True
    while len(rows) < job["rows"] and values.left > 0:
        row = connection.fetchone()
        if row is None:
            more = False
            break
        if to_skip:
            to_skip -= 1
            continue
        rows.append([values.plain(value) for value in row])
    if more:
        more = connection.fetchone() is not None
    return {
        "columns": [column[0] for column in description],
        "types": [str(column[1]) for column in description],
        "rows": rows,
        "more": more,
        "seconds": round(time.perf_counter() - began, 4),
    }


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """The result of a job, or its error."""
    try:
        return run(job)
    except (duckdb.OutOfMemoryException, MemoryError):
        return {"error": f"the statement needs more than {job['memory'] >> 20:,} MiB of memory"}
    except (Refused, duckdb.Error) as error:
        return {"error": READ_ONLY if READ_ONLY in str(error) else str(error).strip()}


def write(result: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(result).encode())
    sys.stdout.buffer.flush()


def main() -> None:
    job = json.load(sys.stdin.buffer)
    limits = {
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: job["memory"] + PROCESS_MEMORY,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))

    def stop() -> None:
        write({"timed_out": True})
        os._exit(0)

    timer = threading.Timer(job["seconds"], stop)
    timer.daemon = True
    timer.start()
    result = answer(job)
    timer.cancel()
    write(result)
    os._exit(0)  # closing DuckDB takes time


if __name__ == "__main__":
    main()
