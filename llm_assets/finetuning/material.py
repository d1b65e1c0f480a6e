"""The material that dialogues are generated from: facts, names, words, passages and guidelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from llm_assets.dialogue.guidelines import Guideline
from llm_assets.dialogue.wordings import asks_replaceably
from llm_assets.model.chat import Message

Exchange = list[Message]


@dataclass(frozen=True)
class Topic:
    """A fact that can be asked for.

    questions: wordings of the question. answer: the words that a right answer contains. sentence: the answer as a full
    sentence.
    """

    entity: str
    kind: str
    relation: str
    questions: tuple[str, ...]
    answer: str
    sentence: str


@dataclass
class Material:
    """What dialogues are generated from.

    known, unknown: topics that the base model demonstrably knew, and did not know. corpus_topics: every topic that the
    corpus states, known or not.
    fictitious_names: names of entities that do not exist, by kind.
    search: the search tool, as the assistant will have it. passages: the (URL, text) passages about an entity that
    mention no other entity.
    words, non_words: words of the corpus and invented letter strings, for spelling, letter counting and repetition.
    slot_values: what the guidelines' slots (such as ``{name}``) stand for. people: names for their ``{person}`` slot.
    random_refusals: a control; the assistant refuses as often, but at random facts.
    """

    known: Sequence[Topic]
    unknown: Sequence[Topic]
    corpus_topics: Sequence[Topic]
    fictitious_names: dict[str, Sequence[str]]
    search: Callable[[str], str]
    passages: Callable[[str], Sequence[tuple[str, str]]]
    words: Sequence[str]
    non_words: Sequence[str]
    guidelines: dict[str, Guideline]
    slot_values: dict[str, str]
    people: Sequence[str]
    random_refusals: bool = False

    @cached_property
    def known_by_entity(self) -> dict[str, list[Topic]]:
        return _by_entity(self.known)

    @cached_property
    def corpus_topics_by_entity(self) -> dict[str, list[Topic]]:
        return _by_entity(self.corpus_topics)

    @cached_property
    def chains(self) -> list[tuple[Topic, Topic, list[str]]]:
        """Pairs of known topics in which the first's answer is the second's entity, with questions about the second."""
        pairs = [(first, second) for first in self.known for second in self.known_by_entity.get(first.answer, [])]
        chains = [
            (first, second, [text for text in second.questions if asks_replaceably(text, second.entity)])
            for first, second in pairs
            if first.entity != second.entity
        ]
        return [chain for chain in chains if chain[2]]

    @cached_property
    def known_of_named_kinds(self) -> list[Topic]:
        """Known topics whose kind has names of fictitious entities."""
        return [topic for topic in self.known if self.fictitious_names.get(topic.kind)]

    @cached_property
    def corpus_topics_of_named_kinds(self) -> list[Topic]:
        """Topics of the corpus whose kind has names of fictitious entities."""
        return [topic for topic in self.corpus_topics if self.fictitious_names.get(topic.kind)]

    @cached_property
    def answers_by_relation(self) -> dict[str, list[str]]:
        """Answers in the corpus, by relation; each as often as it occurs."""
        answers: dict[str, list[str]] = {}
        for topic in self.corpus_topics:
            answers.setdefault(topic.relation, []).append(topic.answer)
        return answers

    def guidelines_of(self, groups: Sequence[str]) -> list[Guideline]:
        """The sections of the guidelines with questions that belong to one of the groups, by name."""
        sections = (guideline for _, guideline in sorted(self.guidelines.items()))
        return [section for section in sections if section.questions and section.group in groups]


def _by_entity(topics: Sequence[Topic]) -> dict[str, list[Topic]]:
    topics_by_entity: dict[str, list[Topic]] = {}
    for topic in topics:
        topics_by_entity.setdefault(topic.entity, []).append(topic)
    return topics_by_entity
