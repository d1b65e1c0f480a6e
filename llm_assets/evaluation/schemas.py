"""Schemas of the tables that several evaluations write."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

SUITES = ("text", "in_context", "questions", "problems", "open_answers", "preference", "benchmarks")
GRADES = ("right", "refused", "wrong")


class EvaluationRows(pa.DataFrameModel):
    """A figure of the evaluation suite: a model's, or that of a baseline, which costs nothing to follow.

    A model and a baseline of the same suite, group and metric had the same questions, problems or pages, and were
    graded by the same code. A metric named ``change from sft`` is the mean change of the same answers from that model's
    to this one's: of the share that should be high (refusals to what cannot be known, right answers elsewhere), or of
    pass@1.
    """

    model: str = pa.Field(
        description="base, ablation (SFT without any refusal), sft, rl, rlhf (the released model), or a baseline, such "
        "as `always refuses`"
    )
    suite: str = pa.Field(
        isin=list(SUITES),
        description="text (validation pages and their facts), in_context (problems that the prompt alone solves), "
        "questions (to the assistant), problems (with checkable answers), open_answers (to open prompts), preference "
        "(pairs of answers that labellers ranked) or benchmarks (standard ones)",
    )
    group: str = pa.Field(description="which pages, questions, problems, prompts or pairs")
    metric: str = pa.Field(description="what was measured; shares lie between 0 and 1")
    value: float
    low: float = pa.Field(
        nullable=True,
        description="lower end of the 95 % confidence interval (`evaluation.intervals`); empty where the figure is one "
        "measurement of everything together",
    )
    high: float = pa.Field(nullable=True, description="upper end, likewise")
    n: pl.Int64 = pa.Field(ge=1, description="observations: pages, questions, problems, statements, answers or pairs")


class EvaluationAnswers(pa.DataFrameModel):
    """A model's answer to a question of the assistant's evaluation."""

    model: str = pa.Field(description="base, ablation, sft, rl or rlhf")
    number: pl.Int64 = pa.Field(ge=0, description="of the question, the same for every model")
    group: str
    tools: str
    entity: str
    relation: str
    question: str
    expected: str
    answer: str
    transcript: str = pa.Field(description="the conversation with its tool calls and their results")
    grade: str = pa.Field(isin=list(GRADES))
    calls: pl.Int64 = pa.Field(ge=0)
    tokens: pl.Int64 = pa.Field(ge=0, description="tokens of the answer, without tool-output tokens")
    refusal: float = pa.Field(
        ge=0,
        le=1,
        nullable=True,
        description="probability that the answer begins like a refusal; empty where it is not measured",
    )


class Attempts(pa.DataFrameModel):
    """A model's attempts at a problem of the evaluation's split."""

    model: str
    problem: pl.Int64 = pa.Field(ge=0)
    family: str
    level: pl.Int64 = pa.Field(ge=0)
    question: str
    answer: str
    greedy: bool = pa.Field(description="whether the greedy solution is right")
    grade: str = pa.Field(isin=list(GRADES), description="of the greedy solution")
    right: pl.Int64 = pa.Field(ge=0, description="right solutions among the sampled ones")
    refused: pl.Int64 = pa.Field(ge=0, description="sampled solutions that say that the answer is not known")
    samples: pl.Int64 = pa.Field(ge=1)
    tokens: pl.Int64 = pa.Field(ge=0, description="tokens of the greedy solution, without tool-output tokens")
    calls: pl.Int64 = pa.Field(ge=0, description="tool calls of the greedy solution")
    transcript: str = pa.Field(description="the greedy solution")
