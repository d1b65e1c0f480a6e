"""Schemas of the tables of the trace index."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class TracedDocuments(pa.DataFrameModel):
    """A page whose tokens a segment of the index holds, from `start` in the segment; `length` includes BOS."""

    segment: str
    start: pl.Int64 = pa.Field(ge=0)
    length: pl.Int64 = pa.Field(ge=1)
    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    crawl: str
    warc_file: str
    warc_offset: pl.Int64 = pa.Field(ge=0)


class TracedConversations(pa.DataFrameModel):
    """A conversation whose tokens a segment of the index holds, from `start` in the segment.

    `conversation`, `source` and `sources` are those of the table of conversations.
    """

    segment: str
    start: pl.Int64 = pa.Field(ge=0)
    length: pl.Int64 = pa.Field(ge=1)
    conversation: pl.Int64 = pa.Field(ge=0, unique=True)
    source: str
    sources: str
