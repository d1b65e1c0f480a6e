"""Phrases found in texts: for names that may not be mentioned, and for evaluation questions that may not be trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

WHOLE_BELOW = 5  # words: a shorter question must be the whole message to count as the same


def words_of(text: str) -> tuple[str, ...]:
    """Words in small letters and figures, without what stands between them."""
    return tuple(re.findall(r"[^\W_]+|[+\-*/=]", text.lower()))


class Phrases:
    """Runs of words to look for in texts, each with what it belongs to."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, ...], str] = {}
        self._lengths: set[int] = set()
        self._whole: dict[tuple[str, ...], str] = {}

    def add(self, phrase: str, owner: str = "") -> None:
        """A phrase, wherever it stands."""
        if words := words_of(phrase):
            self._runs.setdefault(words, owner)
            self._lengths.add(len(words))

    def add_question(self, question: str, owner: str, run: int) -> None:
        """A question: any `run` words in a row of it; a shorter one as a whole, one of less than WHOLE_BELOW words only where
        nothing else is said.
        """
        words = words_of(question)
        if len(words) < WHOLE_BELOW:
            self._whole.setdefault(words, owner)
        elif len(words) < run:
            self._runs.setdefault(words, owner)
            self._lengths.add(len(words))
        else:
            for first in range(len(words) - run + 1):
                self._runs.setdefault(words[first : first + run], owner)
            self._lengths.add(run)

    def find(self, text: str) -> tuple[str, str] | None:
        """The first phrase that the text holds, and its owner."""
        words = words_of(text)
        if words in self._whole:
            return " ".join(words), self._whole[words]
        for first, length in self._windows(words):
            owner = self._runs.get(words[first : first + length])
            if owner is not None:
                return " ".join(words[first : first + length]), owner
        return None

    def _windows(self, words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
        for first in range(len(words)):
            for length in self._lengths:
                if first + length <= len(words):
                    yield first, length


def question_phrases(questions: Iterable[tuple[str, str]], run: int) -> Phrases:
    """Phrases of (question, evaluation) pairs."""
    phrases = Phrases()
    for question, evaluation in questions:
        phrases.add_question(question, evaluation, run)
    return phrases
