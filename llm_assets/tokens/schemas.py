"""Schemas of the tokens room's tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Vocabulary(pa.DataFrameModel):
    """Every id. `token` is its text where its bytes are UTF-8, else the bytes as \\xNN; `count` its occurrences in the sampled text."""

    id: pl.Int64 = pa.Field(ge=0, unique=True)
    token: str
    bytes: pl.Int64 = pa.Field(ge=0)
    special: bool
    count: pl.Int64 = pa.Field(ge=0)


class Compression(pa.DataFrameModel):
    """Bytes and tokens of one sample of the corpus, by encoding; raw bytes are an encoding of 256 ids."""

    encoding: str
    vocabulary: pl.Int64 = pa.Field(ge=256)
    bytes: pl.Int64 = pa.Field(ge=0)
    tokens: pl.Int64 = pa.Field(ge=0)
    bytes_per_token: float = pa.Field(ge=0)


class TokenDocuments(pa.DataFrameModel):
    """The index: where each document's tokens lie, and which page they come from.

    `position` counts tokens of the split from its first shard on; `shard` and `offset` say the same as a file. `length`
    counts the document's BOS; a document longer than what is left of its shard goes on in the next.
    """

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    host: str
    crawl: str
    warc_file: str
    warc_offset: pl.Int64 = pa.Field(ge=0)
    split: str = pa.Field(isin=["train", "validation"])
    position: pl.Int64 = pa.Field(ge=0)
    shard: pl.Int64 = pa.Field(ge=0)
    offset: pl.Int64 = pa.Field(ge=0)
    length: pl.Int64 = pa.Field(ge=1)
    bytes: pl.Int64 = pa.Field(ge=0)
