"""Grades of an answer by its text: right, refused or wrong."""

from __future__ import annotations

import re
from collections.abc import Collection

# Ways of saying "I don't know": the wordings of the guidelines, and those that are common in models' answers.
_REFUSAL = re.compile(
    r"\b(?:do(?:es)? not|don['’]t|did not|didn['’]t|cannot|can['’]t|could not|couldn['’]t|not|never) "
    r"(?:really )?(?:know|find|help|answer|say|sure|heard?|aware)\b"
    r"|\bno (?:idea|information|knowledge)\b"
    r"|\b(?:know|found|find) nothing\b"
    r"|\bunable to\b"
    r"|\bunknown to me\b",
    re.IGNORECASE,
)


def holds(text: str, answer: str) -> bool:
    """Whether the text contains the answer as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(answer.strip().lower())}(?!\w)", text.lower()) is not None


def refuses(text: str) -> bool:
    """Whether the text says that the speaker does not know, or will not answer."""
    return _REFUSAL.search(text) is not None


def grade(text: str, answer: str | None, distractors: Collection[str] = ()) -> str:
    """Grade an answer: ``right``, ``refused`` or ``wrong``.

    A text is right if it contains the answer, contains none of the distractors (other values of the same kind), and
    refuses nothing. Pass answer None for a question that has no answer: only a refusal or a wrong answer is possible.
    """
    if refuses(text):
        return "refused"
    if answer is not None and holds(text, answer):
        # A distractor that is part of the right answer, or contains it, does not contradict it.
        contradictions = [
            distractor
            for distractor in distractors
            if distractor.lower() not in answer.lower() and answer.lower() not in distractor.lower()
        ]
        if not any(holds(text, distractor) for distractor in contradictions):
            return "right"
    return "wrong"
