"""Schemas of the release room's tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Transcripts(pa.DataFrameModel):
    """What a model says to a prompt. text: with calls in brackets, and results after an arrow."""

    number: pl.Int64 = pa.Field(ge=0)
    kind: str
    question: str
    expected: str
    model: str
    text: str


class Costs(pa.DataFrameModel):
    """What an artifact took when it was built. flops: of trainings; watt_hours: an estimate; bytes: on the disk."""

    key: str = pa.Field(unique=True)
    stage: str
    seconds: float = pa.Field(ge=0)
    cpu_seconds: float = pa.Field(ge=0)
    gpu_seconds: float = pa.Field(ge=0)
    flops: float = pa.Field(ge=0)
    watt_hours: float = pa.Field(ge=0)
    bytes: pl.Int64 = pa.Field(ge=0)
