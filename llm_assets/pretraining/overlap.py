"""Finds sequences of tokens that occur word for word in the training shards, in one pass over the shards.

The n-grams of the samples are hashed and sorted, and the corpus is streamed past them, up to TOKENS_SEARCHED of it.
Unlike a suffix array (five to nine bytes per byte of text), this needs no index on the disk and no memory that grows
with the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm_assets.training.shards import TokenStream

SIZES = (8, 16, 32, 64)  # tokens; powers of two, so that each hash follows from the previous one
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication permutes 64-bit numbers
CHUNK = 1 << 22  # tokens of the corpus read at a time
TOKENS_SEARCHED = 1 << 34  # of a larger corpus, part is searched


@dataclass(frozen=True)
class Match:
    """The longest stretch of a sequence that occurs in the corpus.

    start, position: where it begins in the sequence and in the stream. length: in tokens.
    """

    start: int
    length: int
    position: int


def hashes(tokens: np.ndarray, sizes: Sequence[int] = SIZES) -> dict[int, np.ndarray]:
    """The hashes of all n-grams, by n, (len - n + 1,) uint64 each, by doubling: h2n(i) = hn(i) x base^n + hn(i + n)."""
    current = tokens.astype(np.uint64) + np.uint64(1)
    power = _BASE
    by_size = {}
    size = 1
    while size < max(sizes):
        count = max(len(current) - size, 0)
        current = current[:count] * power + current[size : size + count]
        power = power * power
        size *= 2
        if size in sizes:
            by_size[size] = current
    return by_size


@dataclass
class Overlap:
    """share: of the samples' n-grams, the share that occurs in the corpus, by n. matches: of each sample; None below 8
    tokens. searched, tokens: of the corpus, those searched and all; if they differ, share and matches are lower bounds.
    """

    share: dict[int, float]
    matches: list[Match | None]
    searched: int
    tokens: int


def chunk_starts(tokens: int, limit: int = TOKENS_SEARCHED) -> list[int]:
    """Where the chunks begin that are searched: all of up to `limit` tokens, else that many, evenly spaced."""
    chunks = -(-tokens // CHUNK)
    searched = chunks if tokens <= limit else max(1, limit // CHUNK)
    return [number * chunks // searched * CHUNK for number in range(searched)]


def find_overlap(samples: Sequence[Sequence[int]], stream: TokenStream, limit: int = TOKENS_SEARCHED) -> Overlap:
    """Compare samples (ids, without BOS) with the stream.

    Of a stream longer than `limit`, evenly spaced chunks are searched, a share f of it. What occurs in c places is then
    found with probability 1 - (1 - f)^c: shares and lengths of matches are lower bounds.
    """
    arrays = [np.asarray(sample, np.int64) for sample in samples]
    with np.errstate(over="ignore"):
        sample_hashes = [hashes(array) for array in arrays]
        wanted = {
            size: np.unique(np.concatenate([by_size[size] for by_size in sample_hashes] or [np.zeros(0, np.uint64)]))
            for size in SIZES
        }
        first = {size: np.full(len(keys), -1, np.int64) for size, keys in wanted.items()}
        starts = chunk_starts(len(stream), limit)
        for begin in starts:
            chunk = stream.tokens(begin, min(CHUNK + max(SIZES) - 1, len(stream) - begin))
            for size, chunk_hashes in hashes(chunk).items():
                keys = wanted[size]
                if not len(keys) or not len(chunk_hashes):
                    continue
                place = np.minimum(np.searchsorted(keys, chunk_hashes), len(keys) - 1)
                hit = np.flatnonzero(keys[place] == chunk_hashes)
                # The first occurrence in the corpus: written backwards, so that the earliest is written last.
                fresh = np.full(len(keys), -1, np.int64)
                fresh[place[hit[::-1]]] = begin + hit[::-1]
                first[size] = np.where(first[size] < 0, fresh, first[size])
    share = {}
    for size in SIZES:
        total = sum(len(by_size[size]) for by_size in sample_hashes)
        occurring = sum(
            int((first[size][np.searchsorted(wanted[size], by_size[size])] >= 0).sum())
            for by_size in sample_hashes
            if len(by_size[size])
        )
        share[size] = occurring / total if total else 0.0
    matches = [
        _longest(array, by_size, wanted, first, stream) for array, by_size in zip(arrays, sample_hashes, strict=True)
    ]
    searched = sum(min(CHUNK, len(stream) - begin) for begin in starts)
    return Overlap(share, matches, searched, len(stream))


def _longest(
    tokens: np.ndarray,
    by_size: dict[int, np.ndarray],
    wanted: dict[int, np.ndarray],
    first: dict[int, np.ndarray],
    stream: TokenStream,
) -> Match | None:
    """The longest match, found from the largest n with a match, extended to the right at each place.

    by_size: hashes of the sample. wanted: sorted hashes of all samples. first: their first positions in the stream, or
    -1.
    """
    for size in reversed(SIZES):
        if not len(by_size[size]):
            continue
        positions = first[size][np.searchsorted(wanted[size], by_size[size])]
        best: Match | None = None
        for start in np.flatnonzero(positions >= 0).tolist():
            position = int(positions[start])
            count = min(len(tokens) - start, len(stream) - position)
            equal = stream.tokens(position, count) == tokens[start : start + count]
            length = int(equal.argmin()) if not equal.all() else count
            if length >= size and (best is None or length > best.length):  # drops collisions of hashes
                best = Match(start, length, position)
        if best is not None:
            return best
    return None
