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
    distractors: str = pa.Field(description="JSON list: wrong answers of the same kind")
    key: str
    tools: str


class ProblemRejects(pa.DataFrameModel):
    """A row of a file that is no problem."""

    line: pl.Int64 = pa.Field(ge=0)
    reason: str


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
