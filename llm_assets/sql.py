"""DuckDB: the statements in ``sql/``, one file per question, and the settings of every connection."""

from __future__ import annotations

import glob
import os
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

# Environment variables.
MEMORY = "LLM_ASSETS_DUCKDB_MEMORY"
THREADS = "LLM_ASSETS_DUCKDB_THREADS"
TEMPORARY_FOLDER = "LLM_ASSETS_DUCKDB_TEMPORARY"

SORTED_ROW_GROUP = 8_192

_FILES = re.compile(r"read_parquet\(\$(\w+)")
_connections = threading.local()


@dataclass(frozen=True)
class DuckDbSettings:
    """What a connection may use. Empty strings and 0 stand for DuckDB's defaults. No setting changes a result.

    memory: a limit such as ``4GB``; DuckDB spills the rest to the temporary folder. threads: CPU threads per statement.
    """

    memory: str = ""
    threads: int = 0
    temporary_folder: str = ""

    @classmethod
    def from_environment(cls) -> DuckDbSettings:
        """Read the environment, which worker processes inherit. Raises ValueError naming the variable."""
        threads = os.environ.get(THREADS, "0")
        if not threads.isdigit():
            raise ValueError(f"{THREADS} is {threads!r}; it must be a number; 0 is DuckDB's default")
        return cls(os.environ.get(MEMORY, ""), int(threads), os.environ.get(TEMPORARY_FOLDER, ""))

    def to_environment(self) -> None:
        """Use these settings for new connections of this process and of the processes that it starts."""
        for name, value in (
            (MEMORY, self.memory),
            (THREADS, str(self.threads or "")),
            (TEMPORARY_FOLDER, self.temporary_folder),
        ):
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory connection with the environment's settings. Raises ValueError if DuckDB refuses one of them."""
    settings = DuckDbSettings.from_environment()
    config: dict[str, Any] = {}
    if settings.memory:
        config["memory_limit"] = settings.memory
    if settings.threads:
        config["threads"] = settings.threads
    if settings.temporary_folder:
        Path(settings.temporary_folder).mkdir(parents=True, exist_ok=True)
        config["temp_directory"] = settings.temporary_folder
    try:
        return duckdb.connect(config=config)
    except duckdb.Error as error:
        raise ValueError(f"DuckDB rejects {config}: {error}") from error


@cache
def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return files("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def file_pattern(file: Path | str) -> str:
    """The pattern that names one file for DuckDB, which takes every path for a pattern if it can be one.

    A backslash separates folders in DuckDB's patterns. A path with one is passed as it is: DuckDB reads a path that
    matches no file literally.
    """
    path = str(file)
    return path if "\\" in path else glob.escape(path)


def query(text: str, **parameters: Any) -> pl.DataFrame:
    """The result of a statement that reads files. Each thread keeps its connection, because opening one takes 14 ms.

    A parameter that the statement passes to ``read_parquet`` is a list of files. Each is read under its exact name.
    """
    settings = DuckDbSettings.from_environment()
    if getattr(_connections, "settings", None) != settings:
        _connections.connection, _connections.settings = connect(), settings
    return _relation(_connections.connection, text, parameters).pl()


def stream(text: str, rows: int, **parameters: Any) -> Iterator[pl.DataFrame]:
    """The result of `query` in frames of at most `rows` rows, for one that may not fit into memory.

    It is fetched from a connection of its own, which spills what exceeds its memory limit, as the statement runs.
    """
    with connect() as connection:
        reader = _relation(connection, text, parameters).to_arrow_reader(rows)
        for batch in reader:
            yield pl.DataFrame(batch)


def write_sorted(file: Path, columns: Sequence[str], target: Path, descending: Collection[str] = ()) -> None:
    """Write the rows of a parquet file sorted by columns, whatever their number (DuckDB's external merge sort).

    descending: those of the columns in which larger values come first.
    """
    order = ", ".join(f'"{column}"{" DESC" if column in descending else ""}' for column in columns)
    text = f"SELECT * FROM read_parquet($files, hive_partitioning = false) ORDER BY {order}"
    with connect() as connection:
        _relation(connection, text, {"files": [file]}).write_parquet(str(target), row_group_size=SORTED_ROW_GROUP)


def _relation(connection: duckdb.DuckDBPyConnection, text: str, parameters: dict[str, Any]) -> Any:
    for name in set(_FILES.findall(text)):
        parameters[name] = [file_pattern(file) for file in parameters[name]]
    return connection.sql(text, params=parameters)
