"""Schemas of the tables that several evaluations write."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Abilities(pa.DataFrameModel):
    """Grades of sft_evaluation's questions before and after a later stage, one row per group of questions.

    The grades are shares of the group's questions; `questions` is their number.
    """

    group: str
    right_before: float = pa.Field(ge=0, le=1)
    refused_before: float = pa.Field(ge=0, le=1)
    wrong_before: float = pa.Field(ge=0, le=1)
    right_after: float = pa.Field(ge=0, le=1)
    refused_after: float = pa.Field(ge=0, le=1)
    wrong_after: float = pa.Field(ge=0, le=1)
    questions: pl.Int64 = pa.Field(ge=1)
