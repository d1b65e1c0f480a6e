"""Right, refused or made up: what an answer is, by its text."""

from __future__ import annotations

import re
from collections.abc import Collection

# An assistant that says so, in the wordings of the guidelines and those common in models' answers.
_REFUSAL = re.compile(
    r"\b(?:do(?:es)? not|don['’]t|did not|didn['’]t|cannot|can['’]t|could not|couldn['’]t|not|never) (?:really )?(?:know|find|help|answer|say|sure|heard?|aware)\b|\bno (?:idea|information|knowledge)\b|\b(?:know|found|find) nothing\b|\bunable to\b|\bunknown to me\b",
    re.IGNORECASE,
)


def holds(text: str, answer: str) -> bool:
    """Whether the answer stands in the text in whole words, whatever its case."""
    return re.search(rf"(?<!\w){re.escape(answer.strip().lower())}(?!\w)", text.lower()) is not None


def refuses(text: str) -> bool:
    """Whether the text says that its speaker does not know, or will not."""
    return _REFUSAL.search(text) is not None


def grade(text: str, answer: str | None, distractors: Collection[str] = ()) -> str:
    """``right``, ``refused`` or ``wrong``. Right is an answer that stands in the text, where none of the distractors (other values of
    the same kind) stands beside it and nothing is refused; answer None is of a question without one.
    """
    if refuses(text):
        return "refused"
    if answer is not None and holds(text, answer):
        # A rival that is part of the right answer, or holds it, is none.
        others = [
            rival
            for rival in distractors
            if rival.lower() not in answer.lower() and answer.lower() not in rival.lower()
        ]
        if not any(holds(text, rival) for rival in others):
            return "right"
    return "wrong"
