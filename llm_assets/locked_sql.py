"""SQL of people who are not trusted: one SELECT over tables of the store, in a process that can do nothing else.

DuckDB's own advice is to run such statements in a process with few privileges
(duckdb.org/docs/operations_manual/securing_duckdb). Each statement gets a process of its own
(`locked_sql_process`), in which

* only a SELECT is executed, over views of Parquet files;
* DuckDB opens their files only through a file system of ours, which writes nothing, and no other file, address or
  extension (`enable_external_access`, `lock_configuration`);
* the kernel refuses to write to files and to take more memory (RLIMIT_FSIZE, RLIMIT_AS);
* the environment is empty, and the process is killed when its time is up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROCESS = "llm_assets.locked_sql_process"
START_SECONDS = 10.0  # for the process to start, on top of a statement's time
POLL_SECONDS = 0.1  # after which it is asked again whether a statement is still wanted
LONGEST_STATEMENT = 20_000  # characters


class LockedSqlError(ValueError):
    """A statement that is refused, wrong, or exceeds a limit; the message says which."""


@dataclass(frozen=True)
class SqlLimits:
    """Limits of one statement. memory: bytes. rows: returned. characters: of a text, as it is returned."""

    seconds: float = 10.0
    memory: int = 512 << 20
    threads: int = 2
    rows: int = 1_000
    characters: int = 2_000


@dataclass(frozen=True)
class SqlResult:
    """Rows of JSON values, and the names and DuckDB types of their columns. more: whether rows were left out."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    more: bool
    seconds: float


def run_locked_sql(
    tables: Mapping[str, Sequence[Path]],
    sql: str,
    limits: SqlLimits | None = None,
    skip: int = 0,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> SqlResult:
    """The rows that a SELECT returns.

    tables: Parquet files of the same columns, by the name under which the statement reads them. skip: rows of the
    result to skip. is_cancelled: asked while the statement runs, whether nobody wants its rows any more; its process is
    then ended. Raises LockedSqlError.
    """
    limits = limits or SqlLimits()
    if len(sql) > LONGEST_STATEMENT:
        raise LockedSqlError(f"the statement has {len(sql):,} characters; at most {LONGEST_STATEMENT:,} are allowed")
    job = sql_job(tables, sql, limits, skip)
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.defpath}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", PROCESS], env=environment, cwd="/", **pipes) as process:
        try:
            output = _output(process, json.dumps(job).encode(), limits, is_cancelled)
        finally:
            process.kill()
    return _result(output, process.returncode, limits)


def _output(process: subprocess.Popen[bytes], job: bytes, limits: SqlLimits, is_cancelled: Callable[[], bool]) -> bytes:
    """What the process writes. Raises LockedSqlError if it takes too long, or if it is cancelled."""
    deadline = time.monotonic() + limits.seconds + START_SECONDS
    given: bytes | None = job
    while not is_cancelled():
        try:
            return process.communicate(given, POLL_SECONDS)[0]
        except subprocess.TimeoutExpired:
            given = None
        if time.monotonic() > deadline:
            raise _took_too_long(limits)
    raise LockedSqlError("the statement was cancelled")


def sql_job(tables: Mapping[str, Sequence[Path]], sql: str, limits: SqlLimits, skip: int = 0) -> dict[str, Any]:
    """What the process reads."""
    files = {name: [str(file) for file in paths] for name, paths in tables.items() if paths}
    return {"tables": files, "sql": sql, "skip": skip, **asdict(limits)}


def _result(output: bytes, exit_code: int, limits: SqlLimits) -> SqlResult:
    """What the process wrote. Raises LockedSqlError for its error, or if it was killed before it wrote one."""
    try:
        answer = json.loads(output)
    except ValueError:
        answer = {}
    if "rows" in answer:
        return SqlResult(**answer)
    if answer.get("timed_out"):
        raise _took_too_long(limits)
    if "error" in answer:
        raise LockedSqlError(answer["error"])
    raise LockedSqlError(
        f"the statement ended its process (exit code {exit_code}), most often by needing more than "
        f"{limits.memory >> 20:,} MiB of memory; read fewer rows or columns"
    )


def _took_too_long(limits: SqlLimits) -> LockedSqlError:
    return LockedSqlError(f"the statement took longer than {limits.seconds:g} seconds and was stopped")
