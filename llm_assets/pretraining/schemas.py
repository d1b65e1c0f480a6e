"""Schemas of the pretraining room's tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class BitsPerByte(pa.DataFrameModel):
    """Of the validation documents of one host of one crawl."""

    crawl: str
    host: str
    documents: pl.Int64 = pa.Field(ge=1)
    bytes: pl.Int64 = pa.Field(ge=0)
    bits_per_byte: float = pa.Field(ge=0, nullable=True)


class Baselines(pa.DataFrameModel):
    """Bits per byte of the same validation text, by who predicts or packs it."""

    predictor: str
    bits_per_byte: float = pa.Field(ge=0)


class Recitations(pa.DataFrameModel):
    """One place of one page: how many tokens of what follows `prefix` the greedy continuation repeats. times_seen 0 is the validation split."""

    times_seen: pl.Int64 = pa.Field(ge=0)
    url: str
    doc_id: str
    start: pl.Int64 = pa.Field(ge=1)
    matched: pl.Int64 = pa.Field(ge=0)
    recited: bool
    prefix: str
    continuation: str


class FreeSamples(pa.DataFrameModel):
    """A sample from nothing, the longest stretch of it that stands word for word in the training split, and a page that holds it."""

    text: str
    tokens: pl.Int64 = pa.Field(ge=0)
    longest: pl.Int64 = pa.Field(ge=0)
    copied: str
    url: str


class InContext(pa.DataFrameModel):
    """A problem whose answer follows from its prompt: which of four choices the model prefers (`chosen`, `right`), and its
    greedy answer (`answer`, `said`).
    """

    task: str
    shots: pl.Int64 = pa.Field(ge=0)
    prompt: str
    expected: str
    chosen: str
    right: bool
    answer: str
    said: bool


class Facts(pa.DataFrameModel):
    """A fact's sentence to complete, with the model's greedy completion. `reach` says on how many pages the fact stood."""

    entity: str
    relation: str
    reach: str
    prompt: str
    expected: str
    answer: str
    right: bool


class NextTokens(pa.DataFrameModel):
    """The most probable tokens after a prompt."""

    prompt: str
    rank: pl.Int64 = pa.Field(ge=1)
    token: str
    id: pl.Int64 = pa.Field(ge=0)
    probability: float = pa.Field(ge=0, le=1.0001)


class Prompted(pa.DataFrameModel):
    """A continuation of a prompt; in a transcript, the answer to a question."""

    kind: str = pa.Field(isin=["continuation", "transcript"])
    prompt: str
    text: str
