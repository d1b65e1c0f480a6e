"""Gopher's repetition: lines, paragraphs and word n-grams that occur more than once (arXiv:2112.11446, table A1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandera.polars as pa

from llm_assets.compiled import compiled

from ..characters import SPACE
from .columns import column_positions
from .repeats import MAX_COUNTED, MIX, clear_table, count_repeats, find_or_add, split_spans, table_mask

_MAX_N = 10


class GopherRepetition(pa.DataFrameModel):
    """Character ratios are shares of the page's characters; the others are shares of its lines or paragraphs.

    `top_n_gram`: all occurrences of the most frequent n-gram. `duplicate_n_gram`: every n-gram that repeats an earlier
    one, without overlaps.
    """

    duplicate_line_ratio: float = pa.Field(ge=0, le=1)
    duplicate_paragraph_ratio: float = pa.Field(ge=0, le=1)
    duplicate_line_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_paragraph_character_ratio: float = pa.Field(ge=0, le=1)
    top_2_gram_character_ratio: float = pa.Field(ge=0)
    top_3_gram_character_ratio: float = pa.Field(ge=0)
    top_4_gram_character_ratio: float = pa.Field(ge=0)
    duplicate_5_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_6_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_7_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_8_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_9_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_10_gram_character_ratio: float = pa.Field(ge=0, le=1)


COLUMN = column_positions(GopherRepetition)


class NgramBuffers(NamedTuple):
    """Running values over a page's words, from which those of any n-gram follow by subtraction."""

    hashes: np.ndarray  # uint64 (words + 1,): hash of the words before each
    lengths: np.ndarray  # int64 (words + 1,): characters of the words before each
    powers: np.ndarray  # uint64: powers of the multiplier of `hashes`


@compiled
def new_ngram_buffers(max_words):  # type: ignore[no-untyped-def]
    """NgramBuffers for pages of up to `max_words` words."""
    powers = np.ones(16, np.uint64)
    for i in range(1, 16):
        powers[i] = powers[i - 1] * MIX
    return NgramBuffers(np.zeros(max_words + 1, np.uint64), np.zeros(max_words + 1, np.int64), powers)


@compiled
def measure_gopher_repetition(page, ngrams, spans, table, row):  # type: ignore[no-untyped-def]
    """Fill the family's columns of one page. `spans` is scratch (`Buffers.spans`)."""
    _measure_lines(page, spans, table, row)
    words = _hash_words(page, ngrams)
    characters = max(page.characters, 1)
    for n in range(2, 5):
        column = COLUMN.top_2_gram_character_ratio + n - 2
        row[column] = _top_ngram_characters(ngrams, words, n, table) / characters
    for n in range(5, _MAX_N + 1):
        column = COLUMN.duplicate_5_gram_character_ratio + n - 5
        row[column] = _duplicate_ngram_characters(ngrams, words, n, table) / characters


@compiled
def _measure_lines(page, spans, table, row):  # type: ignore[no-untyped-def]
    """Duplicate paragraphs (of the text without the white space around it) and lines (of all of it)."""
    text, kinds, prefixes, powers, n = page.text, page.kinds, page.prefixes, page.powers, page.characters
    start, end = 0, n
    while start < end and kinds[start] & SPACE:
        start += 1
    while end > start and kinds[end - 1] & SPACE:
        end -= 1
    page_characters = max(n, 1)
    count = min(split_spans(text, start, end, 2, spans), MAX_COUNTED)
    repeats, characters = count_repeats(prefixes, powers, spans, count, table)
    row[COLUMN.duplicate_paragraph_ratio] = repeats / count
    row[COLUMN.duplicate_paragraph_character_ratio] = characters / page_characters
    count = min(split_spans(text, 0, n, 1, spans), MAX_COUNTED)
    repeats, characters = count_repeats(prefixes, powers, spans, count, table)
    row[COLUMN.duplicate_line_ratio] = repeats / count
    row[COLUMN.duplicate_line_character_ratio] = characters / page_characters


@compiled
def _hash_words(page, ngrams):  # type: ignore[no-untyped-def]
    """Fill the buffers with the page's words, or as many as fit; returns how many."""
    starts, ends, word_hashes = page.word_starts, page.word_ends, page.word_hashes
    hashes, lengths = ngrams.hashes, ngrams.lengths
    words = min(page.words, len(hashes) - 1)
    hashes[0], lengths[0] = np.uint64(0), 0
    for word in range(words):
        length = ends[word] - starts[word]
        value = word_hashes[word]
        value = (value ^ (value >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(length)
        hashes[word + 1] = hashes[word] * MIX + value
        lengths[word + 1] = lengths[word] + length
    return words


@compiled
def _top_ngram_characters(ngrams, words, n, table):  # type: ignore[no-untyped-def]
    """Characters of all occurrences of the most frequent n-gram, one space between words; of ties, the first counts."""
    hashes, lengths, power = ngrams.hashes, ngrams.lengths, ngrams.powers[n]
    keys, stamps, counts, firsts = table.keys, table.stamps, table.counts, table.firsts
    stamp, mask = clear_table(table), table_mask(words)
    best, best_first = 0, 0
    for i in range(words - n + 1):
        slot, known = find_or_add(hashes[i + n] - hashes[i] * power, keys, stamps, stamp, mask)
        if known:
            counts[slot] += 1
        else:
            counts[slot] = 1
            firsts[slot] = i
        if counts[slot] > best or (counts[slot] == best and firsts[slot] < best_first):
            best, best_first = counts[slot], firsts[slot]
    return best * (lengths[best_first + n] - lengths[best_first] + n - 1) if best else 0


@compiled
def _duplicate_ngram_characters(ngrams, words, n, table):  # type: ignore[no-untyped-def]
    """Characters of the n-grams that repeat an earlier one, without overlaps: the search continues after each."""
    hashes, lengths, power = ngrams.hashes, ngrams.lengths, ngrams.powers[n]
    keys, stamps = table.keys, table.stamps
    stamp, mask = clear_table(table), table_mask(words)
    characters = 0
    i = 0
    while i < words - n + 1:
        _, known = find_or_add(hashes[i + n] - hashes[i] * power, keys, stamps, stamp, mask)
        if known:
            characters += lengths[i + n] - lengths[i]
            i += n
        else:
            i += 1
    return characters
