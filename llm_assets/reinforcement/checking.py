"""Checkers: functions that decide whether an answer is right.

They are strict, since a policy learns to exploit whatever they let pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from llm_assets.evaluation.grading import grade

# A number as people write it: 1,085 or 1085 or -3.50. It must not be part of a word, a longer number, a date or a
# version.
_NUMBER = re.compile(r"(?<![\w.,])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)")
_FINAL_ANSWER = "####"  # precedes the answer of a GSM8K solution (Cobbe et al., arXiv:2110.14168)


def numbers(text: str) -> list[Decimal]:
    """All numbers in a text, in order."""
    return [Decimal(match.replace(",", "").replace("−", "-")) for match in _NUMBER.findall(text)]


def conclusion(text: str) -> str:
    """The text of an answer that states its result.

    This is the text after the last ``####``, else after the last ``=``, else the last sentence.
    """
    for mark in (_FINAL_ANSWER, "="):
        if mark in text:
            return text.rsplit(mark, 1)[1]
    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+|\n", text.strip()) if sentence.strip()]
    return sentences[-1] if sentences else ""


def is_number(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the conclusion contains exactly one number and it is the answer.

    A list of numbers to choose from is wrong.
    """
    concluded = numbers(conclusion(text))
    return len(concluded) == 1 and concluded[0] == numbers(answer)[0]


def is_number_only(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text is the answer's number and nothing else, apart from a full stop."""
    stripped = text.strip().removesuffix(".")
    return _NUMBER.fullmatch(stripped) is not None and numbers(stripped) == numbers(answer)


def is_spelled(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text is the letters of the answer joined by hyphens and nothing else, apart from a full stop."""
    return text.strip().removesuffix(".").strip().lower() == "-".join(answer.lower())


def is_stated(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the conclusion states the answer and no distractor, and is not a refusal."""
    return grade(conclusion(text), answer, distractors) == "right"


CHECKERS: dict[str, Callable[[str, str, Sequence[str]], bool]] = {
    "number": is_number,
    "number_only": is_number_only,
    "spelled": is_spelled,
    "stated": is_stated,
}
