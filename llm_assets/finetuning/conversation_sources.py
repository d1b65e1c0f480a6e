"""The data that conversations and evaluation questions are generated from; some of it is held out for evaluation."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl

from llm_assets.artifacts.identity import OMITTED_IF_NONE
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.tables import read_table
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.guidelines import GENERAL_GROUPS, Guideline, read_guidelines
from llm_assets.dialogue.splits import TRAIN, Split, split_of
from llm_assets.evaluation.grading import holds
from llm_assets.evaluation.overlap import Phrases
from llm_assets.evaluation.words import corpus_words
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import Conversations
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.tools import SearchIndex, SearchTool
from llm_assets.tools.search import TRAINING_SEARCH, index_path

from .material import Material, Topic
from .names import made_up_words, spliced_words
from .question_files import QuestionFiles

NON_WORDS = 5_000  # of each of the two types
PASSAGES_SEARCHED = 20  # results of a search for an entity among which its passages are


class ConversationsConfig(Frozen):
    """The mixture, and the questions that the assistant will be evaluated with.

    results, match: settings of the assistant's search tool. questions: per group, drawn with evaluation_seed. pages:
    those whose words are counted and spelled. question_files: the user's own questions.
    """

    conversations: Conversations
    results: int
    match: Literal["all", "any"]
    questions: int
    evaluation_seed: int
    pages: TrainingPages
    question_files: Annotated[QuestionFiles | None, OMITTED_IF_NONE] = None


def non_words(words: Sequence[str], encoding: Encoding, seed: int) -> list[str]:
    """Letter strings that are not words: half of them resemble words, half are spliced from lower-case tokens."""

    def split_into_tokens(word: str) -> list[str]:
        return [encoding.decode([token]) for token in encoding.encode(f'"{word}"')]

    pieces = []
    for token in encoding.ranks:
        text = token.decode("ascii", "replace")
        if text.isascii() and text.isalpha() and text.islower():
            pieces.append(text)
    return [
        *made_up_words(words, random.Random(f"made up-{seed}"), NON_WORDS),
        *spliced_words(pieces, words, random.Random(f"spliced-{seed}"), NON_WORDS, split_into_tokens),
    ]


def knowledge_cutoff(pages: CorpusPages) -> str:
    """The day on which the newest page was fetched, such as ``5 October 2026``; ``an unknown day`` if none is dated."""
    is_dated = pl.col("fetched_at").str.contains(r"^\d{4}-\d\d-\d\dT")  # the user's own WARC files may have no dates
    newest = (batch.filter(is_dated)["fetched_at"].max() for batch in pages.batches(["fetched_at"]))
    latest = max((str(time) for time in newest if time is not None), default=None)
    if latest is None:
        return "an unknown day"
    day = datetime.fromisoformat(latest[:10])
    return f"{day.day} {day:%B %Y}"


def passage_finder(index: SearchIndex, topics: Sequence[dict[str, Any]]) -> Callable[[str], Sequence[tuple[str, str]]]:
    """A function from an entity to the (URL, text) passages that mention it.

    A passage that also mentions another entity is left out, unless that entity is an answer about the first.
    """
    answers: dict[str, set[str]] = {}
    for topic in topics:
        answers.setdefault(topic["entity"], set()).add(topic["answer"])
    entity_names = Phrases()
    for name in answers:
        entity_names.add(name, name)

    @lru_cache(None)
    def find_passages(entity: str) -> list[tuple[str, str]]:
        passages = []
        for passage in index.search(entity, PASSAGES_SEARCHED):
            remainder = passage.text
            for phrase in sorted([entity, *answers[entity]], key=len, reverse=True):
                remainder = remainder.replace(phrase, " | ")
            if entity in passage.text and entity_names.find(remainder) is None:
                passages.append((passage.url, passage.text))
        return passages

    return find_passages


def _topic(row: dict[str, Any]) -> Topic:
    questions = tuple(json.loads(row["questions"]))
    return Topic(row["entity"], row["kind"], row["relation"], questions, row["answer"], row["sentence"])


@dataclass
class Sources:
    """The inputs of the mixture and of the evaluation questions, as they are stored.

    topics, fictitious: rows of the tables of `knowledge_boundary`. words: words of the corpus. values: what the
    guidelines' slots stand for.
    """

    topics: list[dict[str, Any]]
    fictitious: list[dict[str, Any]]
    words: list[str]
    guidelines: dict[str, Guideline]
    values: dict[str, str]
    index: SearchIndex
    search: SearchTool

    def words_of(self, split: Split) -> list[str]:
        """The words of a split."""
        return [word for word in self.words if split_of(word) == split]

    @property
    def held_out_names(self) -> set[str]:
        """Entities that no conversation mentions."""
        return {topic["entity"] for topic in self.topics if topic["split"] != TRAIN}

    def people(self, split: Split) -> list[str]:
        """Names of the split's real people, sorted."""
        rows = (row for row in self.topics if row["kind"] == "person" and row["split"] == split)
        return sorted({row["entity"] for row in rows})


def read_sources(inputs: Inputs, config: ConversationsConfig) -> Sources:
    """Read the inputs of `conversations`. Raises GuidelinesError for guidelines that cannot be read."""
    settings, boundary = config.conversations, inputs.artifact("knowledge_boundary")
    pages = CorpusPages(inputs, TRAINING_PAGES, config.pages)
    index = SearchIndex(index_path(inputs.artifact(TRAINING_SEARCH)))
    return Sources(
        topics=read_table(boundary.table("topics")).to_dicts(),
        fictitious=read_table(boundary.table("fictitious_entities")).to_dicts(),
        words=corpus_words(pages.texts()),
        guidelines=read_guidelines(Path(settings.guidelines).expanduser() if settings.guidelines else None),
        values={"name": settings.name, "maker": settings.maker, "cutoff": knowledge_cutoff(pages)},
        index=index,
        search=SearchTool(index, config.results, config.match),
    )


def training_material(sources: Sources, encoding: Encoding, settings: Conversations) -> Material:
    """The material of dialogues, without anything that is held out for evaluation."""
    held_out_names = sources.held_out_names
    rows = [row for row in sources.topics if row["split"] == TRAIN and row["answer"] not in held_out_names]
    return Material(
        known=[_topic(row) for row in rows if row["verdict"] == "known"],
        unknown=[_topic(row) for row in rows if row["verdict"] == "unknown"],
        corpus_topics=[_topic(row) for row in rows],
        fictitious_names=_training_names(sources.fictitious),
        search=sources.search,
        passages=passage_finder(sources.index, sources.topics),
        words=sources.words_of(TRAIN),
        non_words=[word for word in non_words(sources.words, encoding, settings.seed) if split_of(word) == TRAIN],
        guidelines=sources.guidelines,
        slot_values=sources.values,
        people=sources.people(TRAIN),
        random_refusals=settings.refusals == "random",
    )


def _training_names(fictitious: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Names of fictitious entities that conversations may use, by kind."""
    names: dict[str, list[str]] = {}
    for row in fictitious:
        if row["split"] == TRAIN:
            names.setdefault(row["kind"], []).append(row["name"])
    return names


def usable_weights(material: Material, weights: Mapping[str, float]) -> dict[str, float]:
    """The weights of the sources that have material. A corpus without questions, for example, has no known facts."""
    readable = any(
        holds(text, topic.answer) and holds(topic.sentence, topic.answer)
        for topic in material.corpus_topics_of_named_kinds
        for _, text in material.passages(topic.entity)
    )
    has_material = {
        "known": bool(material.known),
        "unknown": bool(material.unknown),
        "fictitious": bool(material.known_of_named_kinds),
        "open": bool(material.known),
        "two_hops": bool(material.chains),
        "letters": bool(material.words),
        "repetition": bool(material.words),
        "reading": readable,
        "guidelines": bool(material.guidelines_of([""])),
        "general": bool(material.guidelines_of(GENERAL_GROUPS)),
    }
    return {name: weight for name, weight in weights.items() if weight > 0 and has_material.get(name, True)}
