"""Schemas of the tables that training runs write."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class TrainingCurve(pa.DataFrameModel):
    """One row per step: tokens so far, mean loss in nats per token, AdamW's rate, the norm of the gradient before
    clipping.
    """

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    tokens: pl.Int64 = pa.Field(ge=1)
    loss: float = pa.Field(ge=0)
    learning_rate: float = pa.Field(ge=0)
    gradient_norm: float = pa.Field(ge=0)


class Validation(pa.DataFrameModel):
    """Loss on the validation split, before step `step`: nats per token, and bits per byte of text."""

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    loss: float = pa.Field(ge=0)
    bits_per_byte: float = pa.Field(ge=0)


class TrainingSample(pa.DataFrameModel):
    """A text sampled during the training, before step `step`."""

    step: pl.Int64 = pa.Field(ge=0)
    prompt: str
    text: str


class PolicyCurve(pa.DataFrameModel):
    """One step of a policy's training.

    flat: share of groups whose rewards are all equal; truncated: share of completions that did not end by themselves;
    length: tokens per completion that the policy sampled itself; entropy: nats per token; kl: divergence from the
    reference model, nats per token, weighted; clipped: weighted share of tokens whose ratio was clipped.
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
    parts: str = pa.Field(
        description="JSON: means of the components of rewards, by name; replayed: loss of replayed conversations; "
        "redrawn: groups replaced by dynamic sampling, drawn_reward: mean reward with theirs; mismatch: of a rollout "
        "server's log-probabilities and the trainer's, nats per token"
    )


class PolicyEvaluations(pa.DataFrameModel):
    """An evaluation on held-out prompts, before step `step`."""

    step: pl.Int64 = pa.Field(ge=0)
    score: float
    numbers: str = pa.Field(description="JSON: further numbers, by name")
