"""The DuckDB statements of ``sql/``, one file per question."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import duckdb
import polars as pl


@cache
def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return files("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def query(text: str, **parameters: Any) -> pl.DataFrame:
    """The result of one statement on a connection of its own."""
    with duckdb.connect() as con:
        return con.sql(text, params=parameters).pl()
