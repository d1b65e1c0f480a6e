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


class BenchmarkRows(pa.DataFrameModel):
    """A figure of a model, or of a random choice, on a benchmark: a task of lm-evaluation-harness, or a group of them.

    Intervals are Wilson's for shares of right items, and else 1.96 of the harness's standard errors.
    """

    model: str = pa.Field(description="base, ablation, sft, rl, rlhf, or `random choice`")
    task: str = pa.Field(description="the harness's name, or that of the recipe's file; a group stands for its tasks")
    metric: str = pa.Field(description="as the harness calls it: acc, acc_norm (by characters), exact_match, …")
    filter: str = pa.Field(description="what the harness extracts a response with; none for multiple choices")
    n: pl.Int64 = pa.Field(ge=1, description="items")
    value: float
    low: float = pa.Field(nullable=True, description="lower end of the 95 % confidence interval")
    high: float = pa.Field(nullable=True, description="upper end")
    shots: pl.Int64 = pa.Field(ge=0, description="examples shown before each item")
    version: str = pa.Field(description="the harness's version of the task; empty for CORE")
    contaminated: float = pa.Field(
        ge=0, le=1, nullable=True, description="share of items that a training page overlaps with; empty without pages"
    )
    clean_n: pl.Int64 = pa.Field(ge=0, nullable=True, description="items without overlap")
    clean_value: float = pa.Field(
        nullable=True, description="the value without contaminated items; empty for metrics that are no means of items"
    )


class BenchmarkItems(pa.DataFrameModel):
    """A model's response to an item of a benchmark, by one metric and filter."""

    model: str
    task: str
    filter: str
    metric: str
    item: pl.Int64 = pa.Field(ge=0, description="its place in the benchmark")
    id: str = pa.Field(description="what the dataset calls it, or its place")
    prompt: str = pa.Field(description="digest of the prompt, with its examples")
    target: str
    response: str = pa.Field(description="the choice that the metric goes by, the whole text, or a log-probability")
    value: float = pa.Field(nullable=True, description="of the metric; empty if it is not one number")
    correct: bool = pa.Field(nullable=True, description="whether the value is 1; empty if it is neither 0 nor 1")
    overlap: str = pa.Field(nullable=True, description="URL of the first training page that overlaps with the item")


class BenchmarkOverlaps(pa.DataFrameModel):
    """An item of a benchmark, and the first page of a corpus file with the same run of words."""

    task: str
    item: pl.Int64 = pa.Field(ge=0)
    url: str
    shared: str = pa.Field(description="the words, in lower case and without punctuation")
