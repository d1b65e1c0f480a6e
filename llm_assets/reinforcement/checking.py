"""Checkers: functions that decide whether an answer is right.

They are strict, since a policy learns to exploit whatever they let pass. An answer must state its result: a number or a
name that is negated, doubted, asked, or only a bound is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from llm_assets.evaluation.grading import grade, refuses

# Hyphens, minus signs and the en dash, with which people write negative numbers.
_DASH = "[-\u2010-\u2013\u2212\ufe63\uff0d]"
_CURRENCY = "[$\u00a2-\u00a5\u20a0-\u20cf]"
# Digits as people write them: 1,085 or 1085 or 3.50. They must not be part of a word, a longer number, a date or a
# version.
_DIGITS = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)")
_NUMBER = re.compile(rf"{_DASH}?{_DIGITS.pattern}")
# What may precede the digits: a sign, a currency, or both in either order.
_SIGN = re.compile(rf"(?P<dash>{_DASH})(?P<space>\s*)(?:{_CURRENCY}\s*)?$|{_CURRENCY}\s*(?P<inner>{_DASH})$")
_SIGN_WORD = re.compile(rf"\b(?:minus|negative)\s+(?:{_CURRENCY}\s*)?$", re.IGNORECASE)
_BELOW_ZERO = re.compile(r"\s*(?:°|degrees?)?\s*[CF]?\s*below\s+(?:zero|freezing)", re.IGNORECASE)
# Before or behind a number, these make it a bound, an estimate or a part of another number.
_BOUND_BEFORE = re.compile(
    r"(?:\b(?:more|less|fewer|greater|larger|smaller|higher|lower|other|rather)\s+than|\bat\s+(?:least|most)|\bup\s+to"
    r"|\b(?:over|under|above|below|nearly|almost|about|around|roughly|approximately|approx\.?|maybe|perhaps|possibly)"
    r"|\b(?:instead\s+of|except|anything\s+but|far\s+from)|(?:^|\s)[<>]=?|[≤≥≠≈~±√])\s*"
    rf"{_CURRENCY}?$",
    re.IGNORECASE,
)
_PART_BEHIND = re.compile(
    r"\s*(?:hundred|thousand|million|billion|trillion|dozen|and\s+a\s+(?:half|quarter|third)|[\u00bc-\u00be\u2150-\u215e])"
    r"|\s+or\s+(?:so|more|less|fewer)\b|,?\s+at\s+(?:least|most)\b|-ish\b|\+(?!\s*\d)",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|cannot|never|neither|nor|hardly|scarcely|wrong|incorrect|false|untrue|mistaken|unlikely|doubt\w*)\b"
    r"|\b(?:by|in)\s+no\s+(?:means|way|case)\b|\bfails?\s+to\b|n['’]t\b|≠|!=|=/=|\\neq?\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")
_FINAL_ANSWER = "####"  # precedes the answer of a GSM8K solution (Cobbe et al., arXiv:2110.14168)


class Quantity(NamedTuple):
    """A number in a text. is_definite: False if its sign is unclear, or if it is a bound, an estimate or a part."""

    value: Decimal
    is_definite: bool


def quantities(text: str) -> list[Quantity]:
    """All numbers in a text, in order."""
    return [_quantity(text, match) for match in _DIGITS.finditer(text)]


def _quantity(text: str, digits: re.Match[str]) -> Quantity:
    before, behind = text[: digits.start()], text[digits.end() :]
    sign, is_definite = _sign(before)
    if _BELOW_ZERO.match(behind):
        sign = -sign
    elif _BOUND_BEFORE.search(before) or _PART_BEHIND.match(behind):
        is_definite = False
    return Quantity(sign * Decimal(digits[0].replace(",", "")), is_definite)


def _sign(before: str) -> tuple[int, bool]:
    """The sign of a number, 1 or -1, from the text before its digits, and whether it is certain."""
    if word := _SIGN_WORD.search(before):
        return (1, True) if _ends_with_number(before[: word.start()]) else (-1, True)
    sign = _SIGN.search(before)
    if sign is None:
        return 1, True
    if sign["inner"]:
        return -1, True
    preceding = before[: sign.start()]
    if sign["space"]:
        # 47 - 38 is a difference; in "x = - 5" and in a list of points the dash may be a sign or not.
        return 1, _ends_with_number(preceding)
    if preceding[-1:].isdigit() or preceding[-1:] == ")":
        return 1, True  # a difference, a range, a date
    return (1, False) if preceding[-1:].isalpha() else (-1, True)


def _ends_with_number(text: str) -> bool:
    return text.rstrip()[-1:].isdigit() or text.rstrip()[-1:] == ")"


def numbers(text: str) -> list[Decimal]:
    """All numbers in a text, in order."""
    return [quantity.value for quantity in quantities(text)]


def conclusion(text: str) -> str:
    """The text of an answer that states its result.

    This is the text after the last ``####``, else after the last ``=``, else the last sentence.
    """
    for mark in (_FINAL_ANSWER, "="):
        if mark in text:
            return text.rsplit(mark, 1)[1]
    sentences = [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence.strip()]
    return sentences[-1] if sentences else ""


def is_withdrawn(text: str, answer: str = "") -> bool:
    """Whether an answer negates, doubts, refuses or asks what it concludes. answer: words that are not a negation.

    The sentence in which the conclusion begins is read whole: "It is not true that 47 + 38 = 85."
    """
    concluded = conclusion(text)
    before = text.rstrip()
    before = before[: len(before) - len(concluded.rstrip())]
    statement = _SENTENCE_END.split(before)[-1] + concluded
    if answer:
        statement = re.sub(re.escape(answer), "", statement, flags=re.IGNORECASE)
    is_question = statement.rstrip(" \t\n\"'”’)*_").endswith("?")
    return is_question or refuses(statement) or _NEGATION.search(statement) is not None


def is_number(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the conclusion contains exactly one number, states it, and it is the answer.

    A list of numbers to choose from is wrong.
    """
    concluded = quantities(conclusion(text))
    if len(concluded) != 1 or is_withdrawn(text):
        return False
    return concluded[0].is_definite and concluded[0].value == numbers(answer)[0]


def is_number_only(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text is the answer's number and nothing else, apart from a full stop."""
    stripped = text.strip().removesuffix(".")
    return _NUMBER.fullmatch(stripped) is not None and numbers(stripped) == numbers(answer)


def is_spelled(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text is the letters of the answer joined by hyphens and nothing else, apart from a full stop."""
    return text.strip().removesuffix(".").strip().lower() == "-".join(answer.lower())


def is_stated(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the conclusion states the answer and no distractor, and neither refuses nor negates it."""
    return grade(conclusion(text), answer, distractors) == "right" and not is_withdrawn(text, answer)


CHECKERS: dict[str, Callable[[str, str, Sequence[str]], bool]] = {
    "number": is_number,
    "number_only": is_number_only,
    "spelled": is_spelled,
    "stated": is_stated,
}
