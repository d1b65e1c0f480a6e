"""Repeated spans of a text: hashes of any span in constant time, and a table of the hashes seen so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llm_assets.compiled import compiled, inlined

MIX = np.uint64(0x9E3779B97F4A7C15)
HASH_BASE = np.uint64(0x100000001B3)
# Repeats are counted among the first million words or lines. A page with more words fails the word limit (100,000)
# anyway, and a page of 8 million exclamation marks must not need a table of 300 MB.
MAX_COUNTED = 1 << 20
_LINE_FEED = 10


class SeenTable(NamedTuple):
    """An open-addressed table of hashes. A slot is in use if its stamp is the current one, so clearing costs nothing.

    All arrays have the same power of two as length; `stamp` has one element, the current stamp.
    """

    keys: np.ndarray  # uint64
    stamps: np.ndarray  # int32
    counts: np.ndarray  # int32: free for the caller, by slot
    firsts: np.ndarray  # int32: likewise
    stamp: np.ndarray  # int32 (1,)


def hash_word(word: str) -> np.uint64:
    """The hash that `span_hash` gives for a span with the characters of `word`."""
    value = 0
    for character in word:
        value = (value * int(HASH_BASE) + ord(character) + 1) & 0xFFFFFFFFFFFFFFFF
    return np.uint64(value)


@inlined
def table_mask(entries):  # type: ignore[no-untyped-def]
    """Mask of a table at least twice as large as its entries, and no larger: small pages stay in the cache."""
    size = 16
    while size < 2 * entries + 2:
        size *= 2
    return np.uint64(size - 1)


@compiled
def new_table(entries):  # type: ignore[no-untyped-def]
    """A SeenTable with room for this many entries."""
    size = np.int64(table_mask(entries)) + 1
    return SeenTable(
        np.zeros(size, np.uint64),
        np.zeros(size, np.int32),
        np.zeros(size, np.int32),
        np.zeros(size, np.int32),
        np.zeros(1, np.int32),
    )


@compiled
def clear_table(table):  # type: ignore[no-untyped-def]
    """Forget all hashes; returns the stamp for the next ones."""
    table.stamp[0] += 1
    return table.stamp[0]


@inlined
def _slot_of(key, mask):  # type: ignore[no-untyped-def]
    mixed = key * MIX
    return (mixed ^ (mixed >> np.uint64(29))) & mask


@compiled
def find_or_add(key, keys, stamps, stamp, mask):  # type: ignore[no-untyped-def]
    """The slot of a key, and whether the table already held it under this stamp."""
    slot = _slot_of(key, mask)
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return slot, True
        slot = (slot + np.uint64(1)) & mask
    keys[slot] = key
    stamps[slot] = stamp
    return slot, False


@compiled
def hash_prefixes(text, n, prefixes, powers):  # type: ignore[no-untyped-def]
    """Polynomial hashes of every prefix of `n` code points (uint64, (n + 1,)): any span's hash is two multiplications.

    `powers` holds the powers of the base; those of earlier calls are kept.
    """
    prefixes[0] = np.uint64(0)
    for i in range(n):
        prefixes[i + 1] = prefixes[i] * HASH_BASE + np.uint64(text[i]) + np.uint64(1)
    known = 0
    while known < n and powers[known] != 0:
        known += 1
    if powers[0] == 0:
        powers[0] = np.uint64(1)
        known = 1
    for i in range(known, n + 1):
        powers[i] = powers[i - 1] * HASH_BASE


@inlined
def span_hash(prefixes, powers, start, end):  # type: ignore[no-untyped-def]
    """Hash of the characters [start, end)."""
    return prefixes[end] - prefixes[start] * powers[end - start]


@compiled
def split_spans(text, start, end, min_breaks, spans):  # type: ignore[no-untyped-def]
    """Split text[start:end] at runs of at least `min_breaks` line feeds. Fills `spans`, returns how many there are."""
    count = 0
    first = at = start
    while at < end:
        if text[at] == _LINE_FEED:
            run = at
            while run < end and text[run] == _LINE_FEED:
                run += 1
            if run - at >= min_breaks:
                spans[count, 0], spans[count, 1] = first, at
                count += 1
                first = run
            at = run
        else:
            at += 1
    spans[count, 0], spans[count, 1] = first, end
    return count + 1


@compiled
def count_repeats(prefixes, powers, spans, count, table):  # type: ignore[no-untyped-def]
    """How many of the first `count` spans repeat an earlier one, and how many characters those have."""
    stamp = clear_table(table)
    mask = table_mask(count)
    keys, stamps = table.keys, table.stamps
    repeats, characters = 0, 0
    for i in range(count):
        start, end = spans[i, 0], spans[i, 1]
        key = span_hash(prefixes, powers, start, end) + np.uint64(end - start)
        _, known = find_or_add(key, keys, stamps, stamp, mask)
        if known:
            repeats += 1
            characters += end - start
    return repeats, characters
