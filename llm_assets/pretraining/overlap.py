"""Which sequences of tokens stand word for word in the training shards, and where: found by reading the shards once.

N-grams of the samples are hashed and sorted; the corpus streams past them. That takes no index on the disk and no memory
that grows with the corpus, as a suffix array would (five to nine bytes for each of the text).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm_assets.training.shards import TokenStream

SIZES = (8, 16, 32, 64)  # tokens; powers of two, so that each hash follows from the one before
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication permutes 64-bit numbers
CHUNK = 1 << 22  # tokens of the corpus read at a time


@dataclass(frozen=True)
class Match:
    """The longest stretch of one sequence that the corpus holds: where it begins in the sequence and in the stream, tokens."""

    start: int
    length: int
    position: int


def hashes(tokens: np.ndarray, sizes: Sequence[int] = SIZES) -> dict[int, np.ndarray]:
    """Hash of every n-gram, by n; (len - n + 1,) uint64 each. By doubling: h2n(i) = hn(i) x base^n + hn(i + n)."""
    current = tokens.astype(np.uint64) + np.uint64(1)
    power = _BASE
    found = {}
    size = 1
    while size < max(sizes):
        count = max(len(current) - size, 0)
        current = current[:count] * power + current[size : size + count]
        power = power * power
        size *= 2
        if size in sizes:
            found[size] = current
    return found


@dataclass
class Overlap:
    """share: of the samples' n-grams, how many the corpus holds, by n. matches: the longest of each sample (None below 8 tokens)."""

    share: dict[int, float]
    matches: list[Match | None]


def find_overlap(samples: Sequence[Sequence[int]], stream: TokenStream) -> Overlap:
    """Hold samples (ids, without BOS) against the whole stream."""
    arrays = [np.asarray(sample, np.int64) for sample in samples]
    with np.errstate(over="ignore"):
        of_sample = [hashes(array) for array in arrays]
        wanted = {
            size: np.unique(np.concatenate([one[size] for one in of_sample] or [np.zeros(0, np.uint64)]))
            for size in SIZES
        }
        first = {size: np.full(len(keys), -1, np.int64) for size, keys in wanted.items()}
        for begin in range(0, len(stream), CHUNK):
            chunk = stream.tokens(begin, min(CHUNK + max(SIZES) - 1, len(stream) - begin))
            for size, found in hashes(chunk).items():
                keys = wanted[size]
                if not len(keys) or not len(found):
                    continue
                place = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
                hit = np.flatnonzero(keys[place] == found)
                # The first occurrence in the corpus: assigned backwards, so that the earliest is the last to be written.
                fresh = np.full(len(keys), -1, np.int64)
                fresh[place[hit[::-1]]] = begin + hit[::-1]
                first[size] = np.where(first[size] < 0, fresh, first[size])
    share = {}
    for size in SIZES:
        total = sum(len(one[size]) for one in of_sample)
        held = sum(
            int((first[size][np.searchsorted(wanted[size], one[size])] >= 0).sum())
            for one in of_sample
            if len(one[size])
        )
        share[size] = held / total if total else 0.0
    return Overlap(
        share, [_longest(array, one, wanted, first, stream) for array, one in zip(arrays, of_sample, strict=True)]
    )


def _longest(
    tokens: np.ndarray,
    own: dict[int, np.ndarray],
    wanted: dict[int, np.ndarray],
    first: dict[int, np.ndarray],
    stream: TokenStream,
) -> Match | None:
    """From the largest n that matches anywhere, extended to the right at each place where it does."""
    for size in reversed(SIZES):
        if not len(own[size]):
            continue
        positions = first[size][np.searchsorted(wanted[size], own[size])]
        best: Match | None = None
        for start in np.flatnonzero(positions >= 0).tolist():
            position = int(positions[start])
            count = min(len(tokens) - start, len(stream) - position)
            equal = stream.tokens(position, count) == tokens[start : start + count]
            length = int(equal.argmin()) if not equal.all() else count
            if length >= size and (best is None or length > best.length):  # a collision of hashes falls out here
                best = Match(start, length, position)
        if best is not None:
            return best
    return None
