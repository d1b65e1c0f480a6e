"""Schemas of the tables of base_evaluation."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class BitsPerByte(pa.DataFrameModel):
    """Bits per byte of the validation documents of one host of one crawl."""

    crawl: str
    host: str
    documents: pl.Int64 = pa.Field(ge=1)
    bytes: pl.Int64 = pa.Field(ge=0)
    bits_per_byte: float = pa.Field(ge=0, nullable=True)


class Recitations(pa.DataFrameModel):
    """One place in one page: the number of tokens after `prefix` that the greedy continuation repeats (`matched`).

    times_seen: how often the model was trained on the page; 0 is the validation split.
    """

    times_seen: pl.Int64 = pa.Field(ge=0)
    url: str
    doc_id: str
    start: pl.Int64 = pa.Field(ge=1)
    matched: pl.Int64 = pa.Field(ge=0)
    recited: bool
    prefix: str
    continuation: str


class FreeSamples(pa.DataFrameModel):
    """A sample without a prompt, its longest stretch that occurs word for word in the training split, and a page with
    it. Where only part of the split was searched (the stat `verbatim_search`), there may be a longer one.
    """

    text: str
    tokens: pl.Int64 = pa.Field(ge=0)
    longest: pl.Int64 = pa.Field(ge=0)
    copied: str
    url: str


class InContext(pa.DataFrameModel):
    """A problem whose answer follows from its prompt.

    chosen, right: which of four choices the model prefers, and whether it is the answer. answer, answer_right: the same
    for its greedy answer. latest: how often it is right to choose what the prompt mentions last.
    """

    task: str
    shots: pl.Int64 = pa.Field(ge=0)
    prompt: str
    expected: str
    chosen: str
    right: bool
    answer: str
    answer_right: bool
    latest: float = pa.Field(ge=0, le=1)


class Facts(pa.DataFrameModel):
    """A sentence about a fact, completed greedily by the model. reach: on how many training pages the fact occurs."""

    entity: str
    relation: str
    reach: str
    prompt: str
    expected: str
    answer: str
    right: bool


class NextTokens(pa.DataFrameModel):
    """One of the most probable tokens after a prompt."""

    prompt: str
    rank: pl.Int64 = pa.Field(ge=1)
    token: str
    id: pl.Int64 = pa.Field(ge=0)
    probability: float = pa.Field(ge=0, le=1.0001)


class Prompted(pa.DataFrameModel):
    """A continuation of a prompt, or, in a transcript, the prompted assistant's answer to a question."""

    kind: str = pa.Field(isin=["continuation", "transcript"])
    prompt: str
    text: str
