"""Schemas of the tables that are written where conversations are rendered."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class TooLong(pa.DataFrameModel):
    """A conversation that does not fit into the context, and was left out."""

    conversation: pl.Int64 = pa.Field(ge=0)
    source: str
    tokens: pl.Int64 = pa.Field(ge=1)
