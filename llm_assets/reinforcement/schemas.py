"""Schemas of the tables of reinforcement learning."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from llm_assets.dialogue.splits import SPLITS


class Problems(pa.DataFrameModel):
    """A problem with its answer."""

    problem: pl.Int64 = pa.Field(ge=0, unique=True)
    split: str = pa.Field(
        isin=list(SPLITS), description="train, development (checkpoints are chosen by it) or test (only reports use it)"
    )
    family: str
    level: pl.Int64 = pa.Field(ge=0)
    question: str
    answer: str
    distractors: str = pa.Field(description="JSON list: wrong answers of the same kind")
    key: str = pa.Field(description="problems of the same key, of any family, are in the same split")
    tools: str = pa.Field(description="tools that the solver has, separated by commas")


class ProblemRejects(pa.DataFrameModel):
    """A row of a file that is not a valid word problem."""

    line: pl.Int64 = pa.Field(ge=0)
    reason: str


class Solutions(pa.DataFrameModel):
    """A solution of a development problem at an evaluation step."""

    step: pl.Int64 = pa.Field(ge=0)
    problem: pl.Int64 = pa.Field(ge=0)
    family: str
    right: bool
    transcript: str
