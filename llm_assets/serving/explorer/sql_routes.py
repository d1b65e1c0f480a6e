"""Read-only SQL over the tables of the store."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

from fastapi import APIRouter, Request

from llm_assets.artifacts.table_files import TableFiles, table_files
from llm_assets.locked_sql import SqlLimits, SqlResult, run_locked_sql

from ..bounded_threads import BoundedThreads
from ..worker import client_gone
from .protocol import SqlRequest, SqlTable, SqlTables
from .reading import Reader, with_statuses

LIMITS = SqlLimits()
RUNNING, WAITING = 2, 8  # statements: of their own, because each may take all of its time


def add_sql(router: APIRouter, reader: Reader, limits: SqlLimits = LIMITS) -> None:
    threads = BoundedThreads(RUNNING, WAITING, "run SQL")

    @router.get("/data/tables")
    async def tables() -> SqlTables:
        """The tables that SQL can read: those of the recipe's artifacts, as they were last built if they are stale."""
        by_name = await reader.run(partial(_tables, reader))
        listed = [
            SqlTable(
                name=table.name,
                asset=table.asset,
                columns=table.columns,
                rows=table.rows,
                artifacts=table.artifacts,
                stale=table.stale,
            )
            for table in by_name.values()
        ]
        return SqlTables(tables=listed)

    @router.post("/data/sql")
    async def sql(request: Request, body: SqlRequest) -> SqlResult:
        """The rows of one SELECT, in a process of its own with limits of time, memory and rows.

        The process ends when the client goes away.
        """
        has_gone = threading.Event()

        def read() -> SqlResult:
            files = {name: table.files for name, table in _tables(reader).items()}
            return run_locked_sql(files, body.sql, limits, body.skip, has_gone.is_set)

        statement = asyncio.create_task(threads.run(with_statuses, read))
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait((statement, gone), return_when=asyncio.FIRST_COMPLETED)
            if not statement.done():
                raise client_gone()
            return statement.result()
        finally:
            has_gone.set()
            statement.cancel()
            gone.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _tables(reader: Reader) -> dict[str, TableFiles]:
    return reader.remembered("tables", partial(table_files, reader.workspace))
