"""Numbers in answers: their values, signs and bounds, and whether an answer concludes with one."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from .statements import conclusion, is_denied, sentences, takes_back, unfinished

# Hyphens, minus signs and the en dash, with which people write negative numbers.
_DASH = "[-\u2010-\u2013\u2212\ufe63\uff0d]"
_CURRENCY = "[$\u00a2-\u00a5\u20a0-\u20cf]"
# What separates thousands: a comma, an apostrophe (in Switzerland), or a space that is not that between words (ISO
# 80000-1, section 7.3). Full stops, which separate them in German, are decimal points here.
_SEPARATOR = "[,'\u2019\u00a0\u2009\u202f]"
# Units that are written without a space. Single letters are not among them: 5m may be five million.
_UNIT = r"(?:[ckm]m|km/h|mph|[km]g|lbs?|ft|ml|hrs?|mins?|secs?)\b"
# Digits as people write them: 1,085 or 1085 or 3.50 or .5. They must not be part of a word, a longer number, a date or
# a version.
_DIGITS = re.compile(
    rf"(?<![\w.,])(?:(?:\d{{1,3}}({_SEPARATOR})\d{{3}}(?:\1\d{{3}})*|\d+)(?:\.\d+)?|\.\d+)"
    rf"(?!(?!{_UNIT})\w|[.,'\u2019\u00a0\u2009\u202f]\d)"
)
# What may precede the digits: a sign, a currency, or both in either order, and a bracket.
_SIGN = re.compile(rf"(?P<dash>{_DASH})(?P<space>\s*)(?:{_CURRENCY}\s*)?\(?$|{_CURRENCY}\s*(?P<inner>{_DASH})\(?$")
_SIGN_WORD = re.compile(rf"\b(?:minus|negative)\s+(?:{_CURRENCY}\s*)?\(?$", re.IGNORECASE)
_SIGNS = re.compile(rf"(?:\b(?:minus|negative)\s+|{_DASH}|{_CURRENCY}|\()+$", re.IGNORECASE)  # all before the digits
_BELOW_ZERO = re.compile(r"\s*(?:°|degrees?)?\s*[CF]?\s*below\s+(?:zero|freezing)", re.IGNORECASE)
# Before or after a number, these make it a bound, an estimate or a part of another number.
_BOUND_BEFORE = re.compile(
    r"(?:\b(?:more|less|fewer|greater|larger|smaller|higher|lower|other|rather)\s+than|\bat\s+(?:least|most)|\bup\s+to"
    r"|\b(?:over|under|above|below|nearly|almost|about|around|roughly|approximately|approx\.?|ca\.|maybe|perhaps"
    r"|possibly|might\s+be|may\s+be|could\s+be|close\s+to)"
    r"|\b(?:instead\s+of|except|anything\s+but|far\s+from|twice|double|triple|half(?:\s+of)?)"
    r"|\b(?:square|root|opposite)\s+of"
    r"|(?:^|\s)[<>]=?|[≤≥≠≈~±√])\s*$",
    re.IGNORECASE,
)
_FUNCTION = re.compile(r"[A-Za-z]\($")  # sqrt(42)
_PART_AFTER = re.compile(
    r"\s*(?:‰|hundred|thousand|million|billion|trillion|dozen|squared|cubed|and\s+a\s+(?:half|quarter|third)"
    r"|[\u00bc-\u00be\u2150-\u215e])"
    r"|\s+or\s+(?:so|more|less|fewer)\b|,?\s+at\s+(?:least|most)\b|-ish\b|\+(?!\s*\d)"
    r"|\s+(?:plus|minus|times|divided\s+by)\s+(?:one|two|three|four|five|six|seven|eight|nine|ten)\b",
    re.IGNORECASE,
)
_CONTEXT = 100  # characters before and after a number that decide what it means
_FINAL_ANSWER = "####"  # precedes the answer of a GSM8K solution (Cobbe et al., arXiv:2110.14168)


class Quantity(NamedTuple):
    """A number in a text. is_definite: False if its sign is unclear, or if it is a bound, an estimate or a part."""

    value: Decimal
    is_definite: bool


def quantities(text: str) -> list[Quantity]:
    """All numbers in a text, in order."""
    return [_quantity(text, match) for match in _DIGITS.finditer(text)]


def numbers(text: str) -> list[Decimal]:
    """The values of all numbers in a text, in order."""
    return [quantity.value for quantity in quantities(text)]


def is_bare_number(text: str) -> bool:
    """Whether the text is a number with or without a minus sign, and nothing else."""
    return re.fullmatch(rf"{_DASH}?{_DIGITS.pattern}", text) is not None


def states_number(text: str, answer: str) -> bool:
    """Whether a text concludes with the answer: the last sentence with numbers states exactly one, and it is equal.

    What counts is the text after the last ``####``, or else the last sentence with a number, after its last ``=``. A
    list of numbers to choose from is wrong, and so is a number that is denied, doubted, asked or taken back.
    """
    before, mark, after = text.rpartition(_FINAL_ANSWER)
    if mark:
        first, *remarks = sentences(after) or [""]
        concluded, statement = after, unfinished(before) + first
    else:
        found_conclusion = conclusion(text, lambda sentence: _DIGITS.search(sentence) is not None)
        if found_conclusion is None:
            return False
        concluded = found_conclusion.sentence.rpartition("=")[2]
        statement, remarks = f"{found_conclusion.before} {found_conclusion.sentence}", found_conclusion.after
    stated = quantities(concluded)
    if len(stated) != 1 or is_denied(statement) or takes_back(remarks):
        return False
    return stated[0].is_definite and stated[0].value == numbers(answer)[0]


def _quantity(text: str, digits: re.Match[str]) -> Quantity:
    before = text[max(digits.start() - _CONTEXT, 0) : digits.start()]
    after = text[digits.end() : digits.end() + _CONTEXT]
    sign, is_definite = _sign(before)
    if _BELOW_ZERO.match(after):
        sign = -sign
    elif _FUNCTION.search(before) or _BOUND_BEFORE.search(_SIGNS.sub("", before)) or _PART_AFTER.match(after):
        is_definite = False
    return Quantity(sign * Decimal(re.sub(_SEPARATOR, "", digits[0])), is_definite)


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
