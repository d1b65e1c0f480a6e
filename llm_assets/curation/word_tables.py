"""Words that the word splitters treat specially, and how compiled code looks them up and records a word."""

from __future__ import annotations

import numpy as np

from llm_assets.compute.compiled import compiled, inlined

# Abbreviations after which a full stop ends no sentence, lower case: the frequent ones of Punkt's English model.
ABBREVIATIONS = frozenset(
    (
        "mr mrs ms dr prof st vs etc e.g i.e cf inc ltd co corp jr sr rev gen gov sen rep hon capt col lt sgt maj "
        "u.s u.k u.n a.m p.m d.c ph.d m.d b.a m.a jan feb mar apr jun jul aug sept sep oct nov dec "
        "fig figs eq eqs ref refs no nos vol vols pp ed eds al approx dept est bros ave blvd"
    ).split()
)
# spaCy's list of units that a number may carry without a space.
_UNITS = (
    "km m dm cm mm ha nm yd in ft kg g mg t lb oz mph Pa hPa mbar mb MB kb KB gb GB tb TB T G M K % "
    "km² km³ m² m³ cm² cm³ mm² mm³ µm µg m/s km/h"
).split()
_HASH_BASE = 1_000_003


def _word_hash(word: str) -> int:
    value = 0
    for character in word:
        value = (value * _HASH_BASE + ord(character) + 1) & 0xFFFFFFFFFFFFFFFF
    return value


ABBREVIATION_HASHES = np.array(sorted(_word_hash(word) for word in ABBREVIATIONS), np.uint64)
UNIT_HASHES = np.array(sorted(_word_hash(unit) for unit in _UNITS), np.uint64)
# Two words that are written as one ("can not", "gim me", …); the first has three letters.
_JOINED = np.array([_word_hash(word) for word in ("cannot", "gimme", "gonna", "gotta", "lemme", "wanna")], np.uint64)
JOINED_FIRST_LETTERS = 3


@inlined
def lower(code):  # type: ignore[no-untyped-def]
    """ASCII letters in lower case, other code points as they are."""
    return code | np.uint32(32) if 65 <= code <= 90 else code


@compiled
def hash_lower(text, start, end):  # type: ignore[no-untyped-def]
    """Hash of text[start:end] with ASCII letters in lower case."""
    value = np.uint64(0)
    for i in range(start, end):
        value = value * np.uint64(_HASH_BASE) + np.uint64(lower(text[i])) + np.uint64(1)
    return value


@compiled
def hash_exact(text, start, end):  # type: ignore[no-untyped-def]
    """Hash of text[start:end] as it is written."""
    value = np.uint64(0)
    for i in range(start, end):
        value = value * np.uint64(_HASH_BASE) + np.uint64(text[i]) + np.uint64(1)
    return value


@compiled
def contains(hashes, value):  # type: ignore[no-untyped-def]
    """Whether a sorted array holds the value."""
    low, high = 0, len(hashes)
    while low < high:
        middle = (low + high) // 2
        if hashes[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(hashes) and hashes[low] == value


@inlined
def is_joined(text, start, end):  # type: ignore[no-untyped-def]
    """Whether text[start:end] is two words written as one ("cannot"). All of these have five or six letters."""
    value = hash_lower(text, start, end)
    joined = False
    for i in range(len(_JOINED)):
        joined = joined or value == _JOINED[i]
    return joined


@inlined
def add_word(start, end, starts, ends, count):  # type: ignore[no-untyped-def]
    """Record text[start:end] as word number `count` unless it is empty; returns the new number of words."""
    if end > start:
        starts[count] = start
        ends[count] = end
        return count + 1
    return count
