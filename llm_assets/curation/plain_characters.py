"""Characters that stand for plain ones in numbers and addresses: typographic hyphens and spaces, digits, wide forms.

People copy numbers from style guides and word processors, which set U+2011 for a hyphen, U+00A0 for a space, and soft
hyphens and zero-width spaces for nothing at all. Which characters these are is Unicode's to say: the properties Dash,
Default_Ignorable_Code_Point and the general categories Zs and Nd, and the compatibility mappings <wide> and <small>
(PropList.txt, DerivedCoreProperties.txt, UnicodeData.txt).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .characters import TABLE_SIZE

# Kinds of characters in numbers, as compiled code sees them.
OTHER, DIGIT_LIKE, SEPARATOR, DOT, AT_SIGN, IGNORED = range(6)
_SEPARATORS = " ()+-/"
_WIDE = frozenset("+()./@_-" + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SOFT_HYPHEN, _ZERO_WIDTH_SPACE = "\u00ad", "\u200b"
_ESCAPED_AT = "%40"  # in URLs (RFC 3986)
# Wave dashes part two numbers. The prolonged sound mark is typed for a dash within Japanese ones.
_WAVES, _SOUND_MARK = "\u301c\u3030", "\u30fc"


@lru_cache(maxsize=1)
def plain_characters() -> dict[int, str]:
    """What each such character stands for; an empty string if for nothing. ASCII is not in it."""
    import regex

    every = "".join(map(chr, range(128, TABLE_SIZE)))
    plain = {}
    for character in regex.findall(r"[\p{Dash}\p{Zs}\p{Nd}\p{Default_Ignorable_Code_Point}]", every):
        category = unicodedata.category(character)
        if category == "Nd":
            plain[ord(character)] = str(unicodedata.decimal(character))
        elif category == "Zs":
            plain[ord(character)] = " "
        elif category[0] == "P" or category == "Sm":
            if character not in _WAVES:
                plain[ord(character)] = "-"
        else:
            plain[ord(character)] = ""
    for character in every:
        if unicodedata.decomposition(character).startswith(("<wide>", "<small>")):
            folded = unicodedata.normalize("NFKC", character)
            if folded in _WIDE:
                plain[ord(character)] = folded
    return plain | {ord(_SOUND_MARK): "-"}


@lru_cache(maxsize=1)
def number_characters() -> np.ndarray:
    """uint8 (0x20000,): the kind of each character; ASCII's included."""
    kinds = np.full(TABLE_SIZE, OTHER, np.uint8)
    plain = {code: chr(code) for code in range(128)} | plain_characters()
    for code, character in plain.items():
        if character == "":
            kinds[code] = IGNORED
        elif character.isdecimal():
            kinds[code] = DIGIT_LIKE
        elif character == ".":
            kinds[code] = DOT
        elif character == "@":
            kinds[code] = AT_SIGN
        elif character in _SEPARATORS:
            kinds[code] = SEPARATOR
    return kinds


@dataclass(frozen=True)
class PlainText:
    """A text in plain characters, and the text that it was made of."""

    text: str
    made_of: str

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that [start, end) of this one stands for."""
        if len(self.text) == len(self.made_of):
            return start, end
        lengths, plain = _lengths(self.made_of), 0
        starts = []
        for at, length in enumerate(lengths):
            if length:
                starts.append(at)
                plain += 1
            if plain == end:
                break
        return starts[start], starts[end - 1] + lengths[starts[end - 1]]


def _lengths(original: str) -> list[int]:
    """Of each character of a text: how many of them, from it on, one plain character stands for, or 0."""
    plain = plain_characters()
    lengths = [0 if plain.get(ord(character)) == "" else 1 for character in original]
    for match in re.finditer(_ESCAPED_AT, original):
        lengths[match.start() : match.end()] = len(_ESCAPED_AT), 0, 0
    return lengths


@lru_cache(maxsize=1)
def _tables() -> tuple[frozenset[str], dict[int, str], re.Pattern[str]]:
    """The characters that stand for plain ones; what they become, except for dashes; a dash within a number."""
    plain = plain_characters()
    dashes = "".join(chr(code) for code, character in plain.items() if character == "-")
    others = {code: character for code, character in plain.items() if character != "-"}
    return frozenset(map(chr, plain)), others, re.compile(f"([0-9)] ?)[{re.escape(dashes)}](?= ?[0-9(])")


# Within numbers these stand for a separator; elsewhere, and in a number that has been hyphenated, for nothing.
_INVISIBLE = re.compile(f"(?<=[0-9)])[{_SOFT_HYPHEN}{_ZERO_WIDTH_SPACE}](?=[0-9(])")


def plain_texts(text: str) -> list[PlainText]:
    """The text in plain characters, if that differs: with soft hyphens and zero-width spaces as nothing, and, if a
    number has them, as hyphens and spaces.

    A dash is plain only within a number, since outside of one it separates.
    """
    typographic, _, _ = _tables()
    if (text.isascii() or typographic.isdisjoint(text)) and _ESCAPED_AT not in text:
        return []
    texts = [_plain(text)]
    if _INVISIBLE.search(text):
        texts.append(_plain(_INVISIBLE.sub(lambda match: "-" if match.group() == _SOFT_HYPHEN else " ", text)))
    return [plain for plain in texts if plain.text != text]


def _plain(text: str) -> PlainText:
    _, others, dash = _tables()
    return PlainText(dash.sub(r"\1-", text.translate(others).replace(_ESCAPED_AT, "@")), text)
