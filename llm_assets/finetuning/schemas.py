"""Schemas of the finetuning room's tables."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

VERDICTS = ["known", "unsure", "unknown"]


class Topics(pa.DataFrameModel):
    """A fact that was asked for, and whether the base model knows it. `right` is the share of right answers among those sampled.
    held_out: no conversation mentions the thing, evaluation asks for it. url: a page that tells of it.
    """

    topic: pl.Int64 = pa.Field(ge=0, unique=True)
    entity: str
    kind: str
    relation: str
    reach: str
    answer: str
    sentence: str
    questions: str = pa.Field(description="JSON list: wordings that may be trained on")
    held_out_questions: str = pa.Field(description="JSON list: wordings kept for evaluation")
    samples: pl.Int64 = pa.Field(ge=1)
    right: float = pa.Field(ge=0, le=1)
    verdict: str = pa.Field(isin=VERDICTS)
    held_out: bool
    url: str


class Interrogations(pa.DataFrameModel):
    """One sampled answer."""

    topic: pl.Int64 = pa.Field(ge=0)
    question: str
    sample: pl.Int64 = pa.Field(ge=0)
    answer: str
    grade: str = pa.Field(isin=["right", "refused", "wrong"])
    judge: str = pa.Field(isin=["text", "endpoint"])


class FictitiousEntities(pa.DataFrameModel):
    """A name of nothing: made of pieces of the names of things of this kind, and found on no page. held_out: for evaluation."""

    kind: str
    name: str
    held_out: bool


class QuestionRejects(pa.DataFrameModel):
    """What an endpoint wrote that was left out."""

    url: str
    reason: str


class ConversationRows(pa.DataFrameModel):
    """One conversation. messages is JSON in OpenAI's layout; sources are those of its exchanges, in order; source the mixture's part
    (made, or the name of a file), line its line there.
    """

    conversation: pl.Int64 = pa.Field(ge=0, unique=True)
    source: str
    sources: str = pa.Field(description="JSON list")
    line: pl.Int64 = pa.Field(ge=0)
    messages: str


class ConversationRejects(pa.DataFrameModel):
    """A row of a file that is no conversation, with its line and the reason."""

    file: str
    line: pl.Int64 = pa.Field(ge=0)
    reason: str


class Overlaps(pa.DataFrameModel):
    """A conversation that was left out because it shares a question with an evaluation."""

    source: str
    line: pl.Int64 = pa.Field(ge=0)
    evaluation: str
    shared: str


class EvaluationQuestions(pa.DataFrameModel):
    """What sft_evaluation asks. group: known, known_elsewhere (of things that no conversation mentions), unknown, fictitious, search,
    sums, letters, spelling, or a part of the guidelines. answers: any of them is right; empty where none is.
    """

    group: str
    entity: str
    relation: str
    question: str
    tools: str = pa.Field(description="tools that the assistant has, comma between")
    answers: str = pa.Field(description="JSON list")
    distractors: str = pa.Field(
        description="JSON list: other values of the same kind; one of them in the answer makes it wrong"
    )


class EvaluationAnswers(pa.DataFrameModel):
    """One answer. model: base, ablation or sft. text holds calls and results as they stood in the conversation."""

    model: str
    group: str
    tools: str
    entity: str
    relation: str
    question: str
    expected: str
    answer: str
    transcript: str
    grade: str = pa.Field(isin=["right", "refused", "wrong"])
    calls: pl.Int64 = pa.Field(ge=0)
    tokens: pl.Int64 = pa.Field(ge=0)
