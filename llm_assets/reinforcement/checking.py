"""Checkers: whether an answer's text is the right answer. Strict, for whatever they let pass is what a policy learns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from llm_assets.evaluation.grading import grade

# A number as people write it: 1,085 or 1085 or -3.50; no part of a word, a longer number, a date or a version.
_NUMBER = re.compile(r"(?<![\w.,])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)")
_FINAL = "####"  # before a GSM8K solution's answer (Cobbe et al., arXiv:2110.14168)


def numbers(text: str) -> list[Decimal]:
    """All numbers of a text, in order."""
    return [Decimal(found.replace(",", "").replace("−", "-")) for found in _NUMBER.findall(text)]


def conclusion(text: str) -> str:
    """The part of an answer that states its result: what stands behind ``####``, else behind the last ``=``, else its last sentence."""
    for mark in (_FINAL, "="):
        if mark in text:
            return text.rsplit(mark, 1)[1]
    sentences = [one for one in re.split(r"(?<=[.!?])\s+|\n", text.strip()) if one.strip()]
    return sentences[-1] if sentences else ""


def is_number(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the conclusion holds one number and it is the answer: neither a list to choose from nor the right one in passing."""
    found = numbers(conclusion(text))
    return len(found) == 1 and found[0] == numbers(answer)[0]


def is_number_only(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text is the number and nothing else but a full stop."""
    said = text.strip().removesuffix(".")
    return _NUMBER.fullmatch(said) is not None and numbers(said) == numbers(answer)


def is_spelled(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text is the letters of the answer with hyphens between them and nothing else but a full stop."""
    return text.strip().removesuffix(".").strip().lower() == "-".join(answer.lower())


def is_said(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the last sentence says the answer, none of its distractors, and refuses nothing."""
    return grade(conclusion(text), answer, distractors) == "right"


CHECKERS: dict[str, Callable[[str, str, Sequence[str]], bool]] = {
    "number": is_number,
    "number_only": is_number_only,
    "spelled": is_spelled,
    "said": is_said,
}
