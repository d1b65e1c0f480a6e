"""Schemas of the tables of the fine-tuning stages."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from llm_assets.dialogue.splits import HELD_OUT, SPLITS, Split

# Columns of a topic's wordings, by their split.
WORDING_COLUMNS: dict[Split, str] = {
    "train": "questions",
    "development": "development_questions",
    "test": "test_questions",
}
VERDICTS = ["known", "unsure", "unknown"]


class Topics(pa.DataFrameModel):
    """A fact that the base model was asked for, and whether it knows it."""

    topic: pl.Int64 = pa.Field(ge=0, unique=True)
    entity: str
    kind: str
    relation: str
    reach: str = pa.Field(description="many (on many pages), once or held_out (on search-only pages); empty if unknown")
    answer: str
    sentence: str
    questions: str = pa.Field(description="JSON list: wordings that may be trained on")
    development_questions: str = pa.Field(description="JSON list: wordings that only development questions use")
    test_questions: str = pa.Field(description="JSON list: wordings that only test questions use")
    samples: pl.Int64 = pa.Field(ge=1, description="sampled answers")
    right: float = pa.Field(ge=0, le=1, description="share of right answers among the sampled ones")
    verdict: str = pa.Field(isin=VERDICTS)
    split: str = pa.Field(
        isin=list(SPLITS),
        description="of the entity; conversations mention only those of train, other splits ask for it",
    )
    url: str = pa.Field(description="a page that states the fact; empty if none was found")


class Interrogations(pa.DataFrameModel):
    """One sampled answer."""

    topic: pl.Int64 = pa.Field(ge=0)
    question: str
    sample: pl.Int64 = pa.Field(ge=0)
    answer: str
    grade: str = pa.Field(isin=["right", "refused", "wrong"])
    judge: str = pa.Field(isin=["text", "endpoint"])


class FictitiousEntities(pa.DataFrameModel):
    """An invented name, made of pieces of names of this kind; it occurs on no page."""

    kind: str
    name: str
    split: str = pa.Field(isin=list(SPLITS), description="of its made-up words; conversations use only train")


class QuestionRejects(pa.DataFrameModel):
    """A question of an endpoint that was rejected."""

    url: str
    reason: str


class ConversationRows(pa.DataFrameModel):
    """One conversation."""

    conversation: pl.Int64 = pa.Field(ge=0, unique=True)
    source: str = pa.Field(description="generated, or the name of a file")
    sources: str = pa.Field(description="JSON list: the sources of its exchanges, in order")
    line: pl.Int64 = pa.Field(ge=0, description="line in the file, or number among the generated conversations")
    messages: str = pa.Field(description="JSON list in OpenAI's layout")


class ConversationRejects(pa.DataFrameModel):
    """A row of a file that is not a valid conversation."""

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
    """A question of sft_evaluation."""

    split: str = pa.Field(
        isin=list(HELD_OUT), description="development (recipes are tuned on it) or test (only reports use it)"
    )
    group: str = pa.Field(
        description="known, known_elsewhere (entities that no conversation mentions), unknown, fictitious, search, "
        "search_known, search_fictitious, sums, letters, spelling, sums_at_once, letters_at_once, "
        "small_talk, beyond_abilities, a section of the guidelines, or a file of the user's own questions with its "
        "grading, such as exact:faq"
    )
    entity: str
    relation: str
    question: str
    tools: str = pa.Field(description="tools that the assistant has, separated by commas")
    answers: str = pa.Field(description="JSON list: right answers; empty if the question has none")
    distractors: str = pa.Field(
        description="JSON list: other values of the same kind; an answer that contains one is wrong"
    )
