"""Gopher's document quality: words, symbols and lines (arXiv:2112.11446, section A1.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandera.polars as pa

from llm_assets.compiled import compiled
from llm_assets.recipes import TextStatistics

from ..characters import ALPHA, SYMBOL
from .columns import column_positions
from .page_tokens import LINE_END, LINE_START
from .repeats import hash_word

MAX_STOP_WORD_LENGTH = 32  # characters; the recipe allows no longer ones
_NUMBER_SIGN, _FULL_STOP, _HYPHEN, _BULLET, _ELLIPSIS = 0x23, 0x2E, 0x2D, 0x2022, 0x2026


class GopherQuality(pa.DataFrameModel):
    """Ratios are shares of the page's words or lines; `stop_words` counts the different ones that occur."""

    characters: float = pa.Field(ge=0)
    words: float = pa.Field(ge=0)
    non_symbol_words: float = pa.Field(ge=0)
    mean_word_length: float = pa.Field(ge=0)
    hash_ratio: float = pa.Field(ge=0)
    ellipsis_ratio: float = pa.Field(ge=0)
    alpha_word_ratio: float = pa.Field(ge=0, le=1)
    stop_words: float = pa.Field(ge=0)
    bullet_line_ratio: float = pa.Field(ge=0, le=1)
    ellipsis_line_ratio: float = pa.Field(ge=0, le=1)


COLUMN = column_positions(GopherQuality)


class GopherQualityRules(NamedTuple):
    """What the family reads of a recipe's definitions."""

    stop_words: np.ndarray  # uint64: hashes, at most 64
    letters_only: bool  # whether every stop word has a letter; Chinese has "·" among them

    @classmethod
    def of(cls, definition: TextStatistics) -> GopherQualityRules:
        words = definition.stop_words
        letters_only = all(any(map(str.isalpha, word)) for word in words)
        return cls(np.array([hash_word(word) for word in words], np.uint64), letters_only)


@compiled
def measure_gopher_quality(page, rules, row):  # type: ignore[no-untyped-def]
    """Fill the family's columns of one page."""
    row[COLUMN.characters] = page.characters
    row[COLUMN.words] = page.words
    _measure_words(page, rules.stop_words, rules.letters_only, row)
    _measure_symbols(page, row)
    _measure_lines(page, row)


@compiled
def _measure_words(page, stop_words, letters_only, row):  # type: ignore[no-untyped-def]
    """Words that are more than symbols, their mean length, words with a letter, and stop words."""
    kinds, starts, ends, hashes = page.kinds, page.word_starts, page.word_ends, page.word_hashes
    words = page.words
    non_symbol_words, non_symbol_characters, alpha_words = 0, 0, 0
    stop_words_found = np.uint64(0)  # bit set
    for word in range(words):
        start, end = starts[word], ends[word]
        only_symbols, has_letter = True, False
        for i in range(start, end):
            if not kinds[i] & SYMBOL:
                only_symbols = False
                break
        for i in range(start, end):
            if kinds[i] & ALPHA:
                has_letter = True
                break
        if not only_symbols:
            non_symbol_words += 1
            non_symbol_characters += end - start
        if has_letter:
            alpha_words += 1
        if (has_letter or not letters_only) and end - start <= MAX_STOP_WORD_LENGTH:
            value = hashes[word]
            for i in range(len(stop_words)):
                if stop_words[i] == value:
                    stop_words_found |= np.uint64(1) << np.uint64(i)
    row[COLUMN.non_symbol_words] = non_symbol_words
    row[COLUMN.mean_word_length] = non_symbol_characters / max(non_symbol_words, 1)
    row[COLUMN.alpha_word_ratio] = alpha_words / max(words, 1)
    count = 0
    while stop_words_found:
        count += 1
        stop_words_found &= stop_words_found - np.uint64(1)
    row[COLUMN.stop_words] = count


@compiled
def _measure_symbols(page, row):  # type: ignore[no-untyped-def]
    """Number signs and ellipses per word."""
    text, n = page.text, page.characters
    number_signs, ellipses = 0, 0
    at = 0
    while at < n:
        code = text[at]
        if code == _NUMBER_SIGN:
            number_signs += 1
        elif code == _ELLIPSIS:
            ellipses += 1
        elif code == _FULL_STOP and at + 2 < n and text[at + 1] == _FULL_STOP and text[at + 2] == _FULL_STOP:
            ellipses += 1
            at += 2
        at += 1
    words = max(page.words, 1)
    row[COLUMN.hash_ratio] = number_signs / words
    row[COLUMN.ellipsis_ratio] = ellipses / words


@compiled
def _measure_lines(page, row):  # type: ignore[no-untyped-def]
    """Lines that begin with a bullet, and lines that end in an ellipsis."""
    text, lines = page.text, page.lines
    bullets, ellipses = 0, 0
    for line in range(page.line_count):
        start, end = lines[line, LINE_START], lines[line, LINE_END]
        if start == end:
            continue
        if text[start] == _BULLET or text[start] == _HYPHEN:
            bullets += 1
        if text[end - 1] == _ELLIPSIS or (
            end - start >= 3
            and text[end - 1] == _FULL_STOP
            and text[end - 2] == _FULL_STOP
            and text[end - 3] == _FULL_STOP
        ):
            ellipses += 1
    row[COLUMN.bullet_line_ratio] = bullets / max(page.line_count, 1)
    row[COLUMN.ellipsis_line_ratio] = ellipses / max(page.line_count, 1)
