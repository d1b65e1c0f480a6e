"""Grades of an answer by its text: right, refused or wrong."""

from __future__ import annotations

import re
from collections.abc import Collection

from .statements import refuses, states, without


def holds(text: str, answer: str) -> bool:
    """Whether the text contains the answer as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(answer.strip().lower())}(?!\w)", text.lower()) is not None


def grade(text: str, answer: str | None, distractors: Collection[str] = ()) -> str:
    """Grade an answer: ``right``, ``refused`` or ``wrong``.

    A text is right if it states the answer (see `states`), contains none of the distractors (other values of the same
    kind), and refuses nothing. Pass answer None for a question that has no answer: only a refusal or a wrong answer is
    possible.
    """
    if refuses(text if answer is None else without(text, answer)):
        return "refused"
    if answer is not None and states(text, lambda sentence: holds(sentence, answer), answer):
        contradictions = contradicting(answer, distractors)
        if not any(holds(text, distractor) for distractor in contradictions):
            return "right"
    return "wrong"


def contradicting(answer: str, distractors: Collection[str]) -> list[str]:
    """The distractors that contradict an answer: none that is part of it, or contains it."""
    lower = answer.lower()
    return [other for other in distractors if other.lower() not in lower and lower not in other.lower()]
