"""Schemas of the tables that every training writes."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class TrainingCurve(pa.DataFrameModel):
    """One row a step: tokens so far, mean loss in nats a token, AdamW's rate, the gradient's norm before clipping."""

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    tokens: pl.Int64 = pa.Field(ge=1)
    loss: float = pa.Field(ge=0)
    learning_rate: float = pa.Field(ge=0)
    gradient_norm: float = pa.Field(ge=0)


class Validation(pa.DataFrameModel):
    """Loss on the validation split, before step `step`: nats a token, and bits per byte of text."""

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    loss: float = pa.Field(ge=0)
    bits_per_byte: float = pa.Field(ge=0)


class TrainingSample(pa.DataFrameModel):
    """A text sampled on the way."""

    step: pl.Int64 = pa.Field(ge=0)
    prompt: str
    text: str


class PolicyCurve(pa.DataFrameModel):
    """One step of a policy's training.

    flat: share of groups whose rewards are all alike; truncated: share of solutions that did not end by themselves;
    length: tokens of the policy's own; entropy: nats a token; kl: from the reference model, nats a token by weight.
    """

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    reward: float
    length: float = pa.Field(ge=0)
    entropy: float
    kl: float
    truncated: float = pa.Field(ge=0, le=1)
    flat: float = pa.Field(ge=0, le=1)
    loss: float
    gradient_norm: float = pa.Field(ge=0)
    clipped: float = pa.Field(ge=0)
    parts: str = pa.Field(description="JSON: means of what rewards are made of")


class PolicyEvaluations(pa.DataFrameModel):
    """A measurement on what is held out."""

    step: pl.Int64 = pa.Field(ge=0)
    score: float
    numbers: str = pa.Field(description="JSON")
