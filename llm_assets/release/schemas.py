"""Schemas of the release tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Transcripts(pa.DataFrameModel):
    """The answer of one model to one prompt. text: tool calls in brackets, their results after an arrow."""

    number: pl.Int64 = pa.Field(ge=0)
    kind: str
    question: str
    expected: str
    model: str
    text: str


class Costs(pa.DataFrameModel):
    """What building an artifact cost.

    flops: of training runs. watt_hours: an estimate. bytes: size on disk.
    """

    key: str = pa.Field(unique=True)
    stage: str
    seconds: float = pa.Field(ge=0)
    cpu_seconds: float = pa.Field(ge=0)
    gpu_seconds: float = pa.Field(ge=0)
    flops: float = pa.Field(ge=0)
    watt_hours: float = pa.Field(ge=0)
    bytes: pl.Int64 = pa.Field(ge=0)
