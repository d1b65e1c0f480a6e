"""DuckDB: the statements of ``sql/``, one file per question, and the settings of every connection."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

MEMORY, THREADS, TEMPORARY = "LLM_ASSETS_DUCKDB_MEMORY", "LLM_ASSETS_DUCKDB_THREADS", "LLM_ASSETS_DUCKDB_TEMPORARY"
_connections = threading.local()


@dataclass(frozen=True)
class DuckDbSettings:
    """What a connection may use. Empty and 0 leave DuckDB's own default. None of it changes a result.

    memory: such as ``4GB``; what does not fit goes to the temporary folder. threads: CPU threads of one statement.
    """

    memory: str = ""
    threads: int = 0
    temporary_folder: str = ""

    @classmethod
    def from_environment(cls) -> DuckDbSettings:
        """As the environment says, which worker processes inherit. Raises ValueError naming the variable."""
        threads = os.environ.get(THREADS, "0")
        if not threads.isdigit():
            raise ValueError(f"{THREADS} is {threads!r}; it must be a number, 0 for DuckDB's own")
        return cls(os.environ.get(MEMORY, ""), int(threads), os.environ.get(TEMPORARY, ""))

    def to_environment(self) -> None:
        """Make these the settings of this process's new connections, and of the processes that it starts."""
        for name, value in (
            (MEMORY, self.memory),
            (THREADS, str(self.threads or "")),
            (TEMPORARY, self.temporary_folder),
        ):
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory connection with the settings of the environment. Raises ValueError for a setting DuckDB refuses."""
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
        raise ValueError(f"DuckDB refuses {config}: {error}") from error


@cache
def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return files("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def query(text: str, **parameters: Any) -> pl.DataFrame:
    """The result of one statement that reads files; a thread keeps its connection (opening one takes 14 ms)."""
    settings = DuckDbSettings.from_environment()
    if getattr(_connections, "settings", None) != settings:
        _connections.connection, _connections.settings = connect(), settings
    return _connections.connection.sql(text, params=parameters).pl()
