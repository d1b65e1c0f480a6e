"""Schemas of the pretraining room's tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class TrainingCurve(pa.DataFrameModel):
    """One row a step: tokens trained on after it, mean loss in nats a token, AdamW's rate, the gradient's norm before clipping."""

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    tokens: pl.Int64 = pa.Field(ge=1)
    loss: float = pa.Field(ge=0)
    learning_rate: float = pa.Field(ge=0)
    gradient_norm: float = pa.Field(ge=0)


class Validation(pa.DataFrameModel):
    """Loss on the validation split, before step `step`: nats a token, and bits a byte of text."""

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    loss: float = pa.Field(ge=0)
    bits_per_byte: float = pa.Field(ge=0)


class TrainingSample(pa.DataFrameModel):
    """A text sampled on the way."""

    step: pl.Int64 = pa.Field(ge=0)
    prompt: str
    text: str
