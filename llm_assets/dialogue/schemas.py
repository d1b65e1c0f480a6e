"""Schemas of the tables that rendering conversations writes."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class TooLong(pa.DataFrameModel):
    """Conversations that do not fit into the model's context and were left out, with their length in tokens."""

    conversation: pl.Int64 = pa.Field(ge=0)
    source: str
    tokens: pl.Int64 = pa.Field(ge=1)


class Cut(pa.DataFrameModel):
    """Conversations that were cut after an answer to fit into the model's context, with their length in tokens before
    and after.
    """

    conversation: pl.Int64 = pa.Field(ge=0)
    source: str
    tokens: pl.Int64 = pa.Field(ge=1)
    rendered: pl.Int64 = pa.Field(ge=1)
