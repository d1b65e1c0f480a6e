"""Schemas of the preference room's tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Prompts(pa.DataFrameModel):
    """An open prompt. split: train (answers are compared, the policy is tuned on it), monitor (the monitor alone asks it), unseen (the evaluation alone)."""

    prompt: pl.Int64 = pa.Field(ge=0, unique=True)
    split: str = pa.Field(isin=["train", "monitor", "unseen"])
    question: str
    subject: str = pa.Field(description="what it is about; empty where that is not known")
    subject_exists: bool = pa.Field(description="false where it is about what does not exist")
    source: str


class Responses(pa.DataFrameModel):
    """An answer that the policy gave to a prompt. tokens: of its own."""

    prompt: pl.Int64 = pa.Field(ge=0)
    response: pl.Int64 = pa.Field(ge=0)
    text: str
    tokens: pl.Int64 = pa.Field(ge=0)
    finished: bool


class Pairs(pa.DataFrameModel):
    """Two different answers to one prompt, to be ranked. pair: digest of question and answers."""

    pair: str = pa.Field(unique=True)
    prompt: pl.Int64 = pa.Field(ge=0)
    question: str
    subject: str
    subject_exists: bool
    first: str
    second: str


class PromptRejects(pa.DataFrameModel):
    """A row of a file that is no prompt."""

    file: str
    line: pl.Int64 = pa.Field(ge=0)
    reason: str


class Rankings(pa.DataFrameModel):
    """What a labeller said of a pair. simulated: by the written rule of taste, not by a person."""

    pair: str
    question: str
    subject: str
    first: str
    second: str
    preferred: str = pa.Field(isin=["first", "second", "tie"])
    labeller: str
    simulated: bool
    source: str
    split: str = pa.Field(isin=["train", "held_out", "gold"])


class RankingRejects(pa.DataFrameModel):
    """A row of a file that is no ranking."""

    file: str
    line: pl.Int64 = pa.Field(ge=0)
    reason: str


class RewardEvaluations(pa.DataFrameModel):
    """Before step `step`: Bradley-Terry loss of held-out pairs, nats, and the share that is ordered as the labeller did."""

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    loss: float = pa.Field(ge=0)
    accuracy: float = pa.Field(ge=0, le=1)


class RewardScores(pa.DataFrameModel):
    """A pair that was not trained on. margin: score of the preferred answer less that of the other; above 0 is as the labeller said."""

    pair: str
    question: str
    preferred: str
    other: str
    labeller: str
    margin: float


class Adversarial(pa.DataFrameModel):
    """An answer that the reward model loves and the gold signal does not, with one of the first look's to the same prompt that gold likes better.
    In the layout of pairs, so that people can rank them for the next round.
    """

    pair: str
    step: pl.Int64 = pa.Field(ge=0)
    question: str
    subject: str
    first: str
    second: str
    proxy: float
    gold: float


class Answers(pa.DataFrameModel):
    """A model's answer to an unseen prompt, with its scores by reward model (proxy, in deviations) and gold signal."""

    model: str
    prompt: pl.Int64 = pa.Field(ge=0)
    question: str
    text: str
    tokens: pl.Int64 = pa.Field(ge=0)
    finished: bool
    proxy: float
    gold: float
