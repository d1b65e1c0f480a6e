"""Statements of an answer, judged by ground truth: true, false, or about something that the truth says nothing about.

Only corpora whose facts are known have a ground truth, such as the sample web. Needs only the standard library, so that
a process without the project's other packages can judge the answers that it samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .statements import sentences

PRONOUNS = ("he", "she", "it", "they")
_YEAR = re.compile(r"\b[12]\d{3}\b")


class Statement(NamedTuple):
    """A sentence. verdict: ``true``, ``false`` or ``uncheckable``. facts: (entity, relation) of what it states."""

    sentence: str
    verdict: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TruthFact:
    """A fact of the corpus: the one right value of an entity's relation."""

    entity: str
    kind: str
    relation: str
    value: str


@dataclass(frozen=True)
class GroundTruth:
    """Every fact of the corpus, and the wordings in which its pages and the assistant state them.

    wordings: by relation; {n} is the entity, {v} the value and {a} the value with its indefinite article.
    """

    facts: tuple[TruthFact, ...]
    wordings: dict[str, tuple[str, ...]]


class StatementJudge:
    """Judges the sentences of answers by a ground truth.

    A sentence in a known wording states what takes the place of the wording's value, whether the corpus has such a
    value or not. Any other sentence states the values of the entity's relations that occur in it; it is
    false if one of them belongs to another entity only.
    """

    def __init__(self, truth: GroundTruth):
        self._values: dict[str, dict[str, str]] = {}  # by entity and relation
        self._kinds: dict[str, str] = {}
        self._values_of_kind: dict[str, dict[str, set[str]]] = {}
        for fact in truth.facts:
            entity, value = fact.entity.lower(), fact.value.lower()
            self._values.setdefault(entity, {})[fact.relation] = value
            self._kinds[entity] = fact.kind
            self._values_of_kind.setdefault(fact.kind, {}).setdefault(fact.relation, set()).add(value)
        self._patterns = [
            (relation, _pattern(wording)) for relation, wordings in truth.wordings.items() for wording in wordings
        ]

    def statements(self, answer: str, subject: str) -> list[Statement]:
        """Every sentence of an answer about a subject, with its verdict."""
        return [self.judge(sentence, subject) for sentence in sentences(answer)]

    def judge(self, sentence: str, subject: str) -> Statement:
        """The verdict on a sentence of an answer about a subject. A pronoun stands for the subject."""
        text, stated = sentence.strip().rstrip(".!").lower(), []
        for relation, pattern in self._patterns:
            if match := pattern.fullmatch(text):
                entity = subject.lower() if match["n"] in PRONOUNS else match["n"]
                right = self._values.get(entity, {}).get(relation)
                if right is not None:
                    stated.append((entity, relation, match["v"] == right))
        if any(is_right for *_, is_right in stated):  # a wording of several relations, such as "was born in"
            stated = [fact for fact in stated if fact[2]]
        return _statement(sentence, stated or self._values_in(text, subject.lower()))

    def _values_in(self, text: str, subject: str) -> list[tuple[str, str, bool]]:
        """The facts (entity, relation, whether it is right) whose values occur in a text without a known wording."""
        entity = subject if subject in self._values and _holds(text, subject) else ""
        entity = entity or max((name for name in self._values if _holds(text, name)), key=len, default="")
        if not entity and subject in self._values and text.partition(" ")[0] in PRONOUNS:
            entity = subject
        if not entity:
            return []
        remainder, stated = text.replace(entity, " "), []
        for relation, values in sorted(self._values_of_kind[self._kinds[entity]].items()):
            right = self._values[entity].get(relation)
            mentioned = {value for value in values if _holds(remainder, value)}
            if right is not None and _YEAR.fullmatch(right):
                mentioned |= set(_YEAR.findall(remainder))
            if right is not None and mentioned:
                stated.append((entity, relation, mentioned == {right}))
        return stated


def _pattern(wording: str) -> re.Pattern[str]:
    """A pattern of a wording without its end mark, in lower case."""
    slots = {"n": "(?P<n>.+?)", "v": "(?P<v>.+?)", "a": "an? (?P<v>.+?)"}
    parts = re.split(r"\{([nva])\}", wording.rstrip(".").lower())
    return re.compile("".join(slots[part] if number % 2 else re.escape(part) for number, part in enumerate(parts)))


def _holds(text: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None


def _statement(sentence: str, stated: Iterable[tuple[str, str, bool]]) -> Statement:
    stated = list(stated)
    if not stated:
        return Statement(sentence, "uncheckable")
    verdict = "true" if all(is_right for *_, is_right in stated) else "false"
    return Statement(sentence, verdict, tuple(dict.fromkeys(fact[:2] for fact in stated)))
