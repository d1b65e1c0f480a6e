"""Schemas of the tokens tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Vocabulary(pa.DataFrameModel):
    """One row per id.

    `token` is its text, or its bytes as \\xNN if they are not UTF-8. `count` is how often the sampled text has it.
    """

    id: pl.Int64 = pa.Field(ge=0, unique=True)
    token: str
    bytes: pl.Int64 = pa.Field(ge=0)
    special: bool
    count: pl.Int64 = pa.Field(ge=0)


class Compression(pa.DataFrameModel):
    """Bytes and tokens of one sample of the corpus, by encoding. Raw bytes are an encoding of 256 ids."""

    encoding: str
    vocabulary: pl.Int64 = pa.Field(ge=256)
    bytes: pl.Int64 = pa.Field(ge=0)
    tokens: pl.Int64 = pa.Field(ge=0)
    bytes_per_token: float = pa.Field(ge=0)


class TokenDocuments(pa.DataFrameModel):
    """The index: where each document's tokens are stored, and which page they come from.

    `position` counts tokens from the first shard of the split; `shard` and `offset` are the same place as a file and a
    position in it. `length` includes the document's BOS. A document that does not fit the rest of its shard continues
    in the next.
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
