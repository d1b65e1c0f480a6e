"""Phrase search: for names that may not be mentioned, evaluation questions that may not be trained on, and benchmark
items that the corpus holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from llm_assets.writing_systems import separate_letters

WHOLE_BELOW = 5  # words; a shorter question counts as the same only if it is the whole message


def words_of(text: str) -> tuple[str, ...]:
    """Words, numbers and arithmetic signs in lower case, without punctuation and spaces.

    In scripts that are written without spaces, each letter counts as a word.
    """
    return tuple(re.findall(r"[^\W_]+|[+\-*/=]", separate_letters(text.lower())))


class Phrases:
    """Runs of words to look for in texts, each with an owner: the name or evaluation that it comes from."""

    def __init__(self) -> None:
        # By run, its owners in the order in which they were added; most runs have one.
        self._runs: dict[tuple[str, ...], list[str]] = {}
        self._lengths: set[int] = set()
        self._whole: dict[tuple[str, ...], list[str]] = {}

    def add(self, phrase: str, owner: str = "") -> None:
        """Add a phrase that is found anywhere in a text."""
        if words := words_of(phrase):
            self._add_run(words, owner)

    def _add_run(self, words: tuple[str, ...], owner: str) -> None:
        owners = self._runs.setdefault(words, [])
        if owner not in owners[-1:]:  # a text may repeat a run
            owners.append(owner)
        self._lengths.add(len(words))

    def add_question(self, question: str, owner: str, run: int) -> None:
        """Add a question, of which any `run` consecutive words are found.

        A question of fewer words is found as a whole; one of fewer than WHOLE_BELOW words only if the text contains
        nothing else.
        """
        words = words_of(question)
        if len(words) < WHOLE_BELOW:
            self._whole.setdefault(words, []).append(owner)
        elif len(words) < run:
            self._add_run(words, owner)
        else:
            for first in range(len(words) - run + 1):
                self._add_run(words[first : first + run], owner)

    def find(self, text: str) -> tuple[str, str] | None:
        """The first phrase in the text and its first owner, or None."""
        return next(((phrase, owners[0]) for phrase, owners in self._matches(text)), None)

    def find_all(self, text: str) -> dict[str, str]:
        """Every owner of a phrase in the text, with the first such phrase."""
        phrases: dict[str, str] = {}
        for phrase, owners in self._matches(text):
            for owner in owners:
                phrases.setdefault(owner, phrase)
        return phrases

    def _matches(self, text: str) -> Iterator[tuple[str, list[str]]]:
        words = words_of(text)
        if words in self._whole:
            yield " ".join(words), self._whole[words]
        for first, length in self._windows(words):
            owners = self._runs.get(words[first : first + length])
            if owners is not None:
                yield " ".join(words[first : first + length]), owners

    def _windows(self, words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
        for first in range(len(words)):
            for length in self._lengths:
                if first + length <= len(words):
                    yield first, length


def question_phrases(questions: Iterable[tuple[str, str]], run: int) -> Phrases:
    """The phrases of (question, evaluation) pairs. run: consecutive words that count as the same question."""
    phrases = Phrases()
    for question, evaluation in questions:
        phrases.add_question(question, evaluation, run)
    return phrases
