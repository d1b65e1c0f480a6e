"""The token buffer that all families of statistics share: a page's characters, words, lines and their hashes.

A page is decoded and split once; every family reads the result. The buffers are allocated once per batch, as long as
its longest page, and reused from page to page.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llm_assets.compiled import compiled

from ..characters import LINE_BREAK, SPACE, decode, kinds_of
from ..word_splitting import JIEBA, split_words
from .repeats import hash_prefixes, span_hash

LINE_START, LINE_END, LINE_WORDS, LINE_LONGEST_WORD = range(4)
_LINE_FEED, _CARRIAGE_RETURN = 10, 13


class Buffers(NamedTuple):
    """Arrays as long as the longest page of a batch."""

    text: np.ndarray  # uint32: code points
    kinds: np.ndarray  # uint32: flags of each character (`characters`)
    prefixes: np.ndarray  # uint64: hashes of the text's prefixes (`repeats.span_hash`)
    powers: np.ndarray  # uint64: powers of the hash's base
    word_starts: np.ndarray  # int32
    word_ends: np.ndarray  # int32
    word_hashes: np.ndarray  # uint64
    lines: np.ndarray  # int32 (lines, 4): see LINE_START
    spans: np.ndarray  # int32 (spans, 2): scratch for paragraphs and lines
    pending: np.ndarray  # int32: scratch of the word splitter


class Page(NamedTuple):
    """One page in the buffers. Only the first `characters`, `words` and `line_count` elements belong to it.

    A line is the text between two line breaks of any kind, without the white space around it.
    """

    text: np.ndarray
    kinds: np.ndarray
    prefixes: np.ndarray
    powers: np.ndarray
    word_starts: np.ndarray
    word_ends: np.ndarray
    word_hashes: np.ndarray
    lines: np.ndarray
    characters: int
    words: int
    line_count: int


@compiled
def new_buffers(longest):  # type: ignore[no-untyped-def]
    """Buffers for pages of up to `longest` characters."""
    return Buffers(
        np.zeros(longest, np.uint32),
        np.zeros(longest, np.uint32),
        np.zeros(longest + 1, np.uint64),
        np.zeros(longest + 1, np.uint64),
        np.zeros(longest, np.int32),
        np.zeros(longest, np.int32),
        np.zeros(longest, np.uint64),
        np.zeros((longest, 4), np.int32),
        np.zeros((longest + 1, 2), np.int32),
        np.zeros(longest, np.int32),
    )


@compiled
def read_page(data, offsets, number, table, word_rules, given, buffers):  # type: ignore[no-untyped-def]
    """The Page of text `number` of `data` (UTF-8). `given` has its words if the word rules are JIEBA."""
    text, kinds, prefixes, powers = buffers.text, buffers.kinds, buffers.prefixes, buffers.powers
    n = decode(data, offsets[number], offsets[number + 1], text)
    kinds_of(text, n, table, kinds)
    hash_prefixes(text, n, prefixes, powers)
    starts, ends, hashes = buffers.word_starts, buffers.word_ends, buffers.word_hashes
    if word_rules == JIEBA:
        first, last = given.offsets[number], given.offsets[number + 1]
        words = last - first
        starts[:words], ends[:words] = given.starts[first:last], given.ends[first:last]
    else:
        words = split_words(text, kinds, n, word_rules, starts, ends, buffers.pending)
    for word in range(words):
        hashes[word] = span_hash(prefixes, powers, starts[word], ends[word])
    lines = _split_lines(text, kinds, n, buffers.lines)
    return Page(text, kinds, prefixes, powers, starts, ends, hashes, buffers.lines, n, words, lines)


@compiled
def _split_lines(text, kinds, n, lines):  # type: ignore[no-untyped-def]
    """Fill `lines` with the lines of `n` code points; returns how many. A line's words are runs without white space."""
    count = 0
    at = 0
    while at < n:
        start = at
        words, word_length, longest_word = 0, 0, 0
        while at < n:
            kind = kinds[at]
            if kind & SPACE:
                if kind & LINE_BREAK:
                    break
                word_length = 0
            else:
                if word_length == 0:
                    words += 1
                word_length += 1
                longest_word = max(longest_word, word_length)
            at += 1
        end = at
        if at < n:
            at += 2 if text[at] == _CARRIAGE_RETURN and at + 1 < n and text[at + 1] == _LINE_FEED else 1
        while start < end and kinds[start] & SPACE:
            start += 1
        while end > start and kinds[end - 1] & SPACE:
            end -= 1
        lines[count, LINE_START], lines[count, LINE_END] = start, end
        lines[count, LINE_WORDS], lines[count, LINE_LONGEST_WORD] = words, longest_word
        count += 1
    return count
