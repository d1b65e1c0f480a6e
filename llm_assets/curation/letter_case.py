"""Texts in capitals, or in other forms of the small letters, written in small letters.

Language models are trained on running text. A word in capitals is another word to them: lid.176 takes English in
capitals for German or Persian. Full-width letters, small capitals and mathematical letters (`ＴＨＥ`, `ᴛʜᴇ`, `𝐭𝐡𝐞`) are
further forms of the same letters. Unicode's data say which letters these are: the simple case mapping, NFKC, and the
names of the small capitals, which have neither.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import polars as pl

from llm_assets.compiled import compiled

from .characters import TABLE_SIZE, decode
from .text_buffers import utf8_buffers

# A text is asked in small letters if at least this share of its letters is none. Of 150 English pages with every word
# capitalised with probability 0.7, lid.176 still knows 90 %; with 0.8 81 %; with 0.9 38 %; in capitals none; and all of
# them in small letters.
MOSTLY_CAPITALS = 0.75
_LETTER, _OTHER_FORM = 1, 2
_SMALL_CAPITAL = "LATIN LETTER SMALL CAPITAL "
_COMBINING_DOT = "\u0307"


@lru_cache(maxsize=1)
def _small_capitals() -> dict[int, str]:
    """The small letter of each of Unicode's small capitals, by code point. Those of IPA's turned letters are left."""
    blocks = (range(0x250, 0x2B0), range(0x1D00, 0x1D80), range(0xA720, 0xA800))
    names = {code: unicodedata.name(chr(code), "") for block in blocks for code in block}
    return {
        code: name.removeprefix(_SMALL_CAPITAL).lower()
        for code, name in names.items()
        if name.startswith(_SMALL_CAPITAL) and len(name) == len(_SMALL_CAPITAL) + 1
    }


def in_small_letters(text: str) -> str:
    """The text in small letters, whatever form its letters have.

    Cherokee stays as it is, as its capitals are the usual letters (Unicode folds its case to capitals). The dot that
    `İ` leaves behind is dropped: Turkish writes `i`.
    """
    compatible = unicodedata.normalize("NFKC", text).translate(_small_capitals())
    small = compatible.lower().replace(f"i{_COMBINING_DOT}", "i")
    if not any("\u13a0" <= character <= "\u13f5" for character in compatible):
        return small
    return "".join(c if c.casefold() == c else c.lower() for c in compatible)


@lru_cache(maxsize=1)
def _forms_table() -> np.ndarray:
    """uint8 (0x20000,): which characters are letters, and which of these are other forms of small letters."""
    table = np.zeros(TABLE_SIZE, np.uint8)
    for code in range(TABLE_SIZE):
        category = unicodedata.category(chr(code))
        if category[0] != "L":
            continue
        table[code] = _LETTER
        if category != "Lo":
            small = in_small_letters(chr(code))
            if small != chr(code) and all(unicodedata.category(letter) == "Ll" for letter in small):
                table[code] |= _OTHER_FORM
    return table


@compiled
def _has_many_small_letters(data):  # type: ignore[no-untyped-def]
    """Whether more than a quarter of the characters are a-z, ideographs or Hangul, which decides for most pages.

    Bytes are counted without branches, so that the compiler vectorises the loop. E4 to E9 and EB to ED begin characters
    from U+4000 to U+9FFF and from U+B000 to U+DFFF.
    """
    characters, small = 0, 0
    for byte in data:
        characters += (byte & 0xC0) != 0x80
        small += (97 <= byte <= 122) | ((0xE4 <= byte <= 0xED) & (byte != 0xEA))
    return 4 * small > characters


@compiled
def _count_letters(data, offsets, table, shares):  # type: ignore[no-untyped-def]
    """Fill `shares` (float64, one per text) with the share of letters that are no small letters, 0 where it is low."""
    longest = 1
    for number in range(len(offsets) - 1):
        longest = max(longest, offsets[number + 1] - offsets[number])
    text = np.zeros(longest, np.uint32)
    for number in range(len(offsets) - 1):
        if _has_many_small_letters(data[offsets[number] : offsets[number + 1]]):
            continue
        n = decode(data, offsets[number], offsets[number + 1], text)
        letters, others = 0, 0
        for i in range(n):
            flags = table[text[i]] if text[i] < len(table) else np.uint8(_LETTER)
            letters += flags & _LETTER
            others += flags >> 1
        shares[number] = others / max(letters, 1)


def with_small_letters(texts: pl.Series) -> pl.Series:
    """The texts, with those that are mostly in capitals (or in another form) in small letters."""
    data, offsets = utf8_buffers(texts)
    shares = np.zeros(len(texts))
    _count_letters(data, offsets, _forms_table(), shares)
    rows = np.flatnonzero(shares >= MOSTLY_CAPITALS)
    if not len(rows):
        return texts
    return texts.scatter(rows, [in_small_letters(texts[int(row)]) for row in rows])
