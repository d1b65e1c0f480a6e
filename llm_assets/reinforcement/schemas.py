"""Schemas of the reinforcement room's tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Problems(pa.DataFrameModel):
    """A problem with its answer. Problems of the same key, of whatever family, stand on one side of the split. tools: what the solver has."""

    problem: pl.Int64 = pa.Field(ge=0, unique=True)
    split: str = pa.Field(isin=["train", "held_out"])
    family: str
    level: pl.Int64 = pa.Field(ge=0)
    question: str
    answer: str
    rivals: str = pa.Field(description="JSON list: wrong answers of the same kind")
    key: str
    tools: str


class ProblemRejects(pa.DataFrameModel):
    """A row of a file that is no problem."""

    line: pl.Int64 = pa.Field(ge=0)
    reason: str


class PolicyCurve(pa.DataFrameModel):
    """One step of a policy's training. flat: share of groups whose rewards are all alike; truncated: share of solutions that did not end
    by themselves; length: tokens of the policy's own; entropy: nats a token; kl: from the reference model, nats a token by weight.
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


class PolicyLooks(pa.DataFrameModel):
    """A measurement on what is held out."""

    step: pl.Int64 = pa.Field(ge=0)
    score: float
    numbers: str = pa.Field(description="JSON")


class Solutions(pa.DataFrameModel):
    """A held-out problem's solution, as it was at a step."""

    step: pl.Int64 = pa.Field(ge=0)
    problem: pl.Int64 = pa.Field(ge=0)
    family: str
    right: bool
    transcript: str


class Attempts(pa.DataFrameModel):
    """A model's attempts at a held-out problem: the greedy solution, and how many of the sampled ones are right. tokens and calls are of the greedy one."""

    model: str
    problem: pl.Int64 = pa.Field(ge=0)
    family: str
    level: pl.Int64 = pa.Field(ge=0)
    question: str
    answer: str
    greedy: bool
    right: pl.Int64 = pa.Field(ge=0)
    samples: pl.Int64 = pa.Field(ge=1)
    tokens: pl.Int64 = pa.Field(ge=0)
    calls: pl.Int64 = pa.Field(ge=0)
    transcript: str
