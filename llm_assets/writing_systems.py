"""Scripts that are written without spaces between words."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

# Letters and marks of these scripts. In Unicode's Line_Break property (UAX #14) they are the characters between which a
# line may break: ideographs (ID; also Yi, Tangut and Nushu), small kana (CJ), scripts whose words only a dictionary can
# find (SA: Thai, Lao, Khmer, Myanmar, the Tai scripts), and those that break between syllables (AK, AP, AS, VF, VI:
# Balinese, Javanese and their kin). Iteration marks of Chinese and Japanese have other values. Tibetan marks where
# syllables end, not words. Full-width Latin and single letters of Hangul are ID too, but are written with spaces.
UNSPACED = (
    r"(?V1)[[\p{Han}\p{Hiragana}\p{Katakana}\p{Tibetan}"
    r"\p{lb=ID}\p{lb=CJ}\p{lb=SA}\p{lb=AK}\p{lb=AP}\p{lb=AS}\p{lb=VF}\p{lb=VI}]"
    r"&&[\p{L}\p{M}]--[\p{Latin}\p{Hangul}]]"
)


@lru_cache(maxsize=1)
def _pattern() -> Any:
    import regex

    return regex.compile(UNSPACED)


@lru_cache(maxsize=1)
def unspaced_letters() -> frozenset[str]:
    """The letters and marks of these scripts in Unicode's first two planes. Beyond them are only ideographs."""
    return frozenset(_pattern().findall("".join(map(chr, range(0x20000)))))


def separate_letters(text: str) -> str:
    """The text with a space before and after each letter of these scripts, so that each is a word by itself."""
    return text if text.isascii() else _pattern().sub(r" \g<0> ", text)
