"""Suffix arrays over tokens on disk: every suffix of a segment of documents, sorted, so that matches are found by
bisection.

A segment is two files: ``<name>-tokens.npy``, its tokens, and ``<name>-suffixes.npy``, the positions of its suffixes in
lexicographic order (uint32). Tokens are stored big-endian, so that the order of tokens is the order of their bytes:
libdivsufsort (Mori; MIT) sorts the bytes, and Python's comparison of bytes finds a match. A string has only one suffix
array, so the files depend on the tokens alone.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from llm_assets.artifacts.record import fsync_path

TOKENS, SUFFIXES = "-tokens.npy", "-suffixes.npy"


class SegmentError(ValueError):
    """A segment that is missing or inconsistent; the message names the file."""


def sorted_suffixes(tokens: np.ndarray) -> np.ndarray:
    """The positions of all suffixes of big-endian tokens in lexicographic order, (n,) uint32.

    Peak memory is 14 bytes per token of 2 bytes, 28 per token of 4 bytes. Raises ModuleNotFoundError without
    pydivsufsort.
    """
    from pydivsufsort import divsufsort

    width = tokens.dtype.itemsize
    order = divsufsort(tokens.view(np.uint8))  # suffixes that begin within a token are sorted too, and dropped here
    order = order[order % width == 0]
    order //= width
    return order.astype(np.uint32)


def write_segment(folder: Path, name: str, blocks: Iterable[np.ndarray], count: int, width: int) -> list[str]:
    """Write a segment of `count` tokens, given in blocks, `width` bytes each; returns the names of its files."""
    tokens = np.empty(count, np.dtype(f">u{width}"))
    filled = 0
    for block in blocks:
        tokens[filled : filled + len(block)] = block
        filled += len(block)
    assert filled == count
    for ending, values in ((TOKENS, tokens), (SUFFIXES, sorted_suffixes(tokens))):
        temporary = folder / f".{name}{ending}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                np.save(file, values)
            fsync_path(temporary)
            os.replace(temporary, folder / f"{name}{ending}")
        finally:
            temporary.unlink(missing_ok=True)
    return [f"{name}{TOKENS}", f"{name}{SUFFIXES}"]


class Segment:
    """A segment, memory-mapped. Raises SegmentError if its files cannot be read or do not fit each other.

    Queries are tokens as `encoded` makes them.
    """

    def __init__(self, folder: Path, name: str):
        self.name = name
        arrays = []
        for ending in (TOKENS, SUFFIXES):
            path = folder / f"{name}{ending}"
            try:
                arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError) as error:
                raise SegmentError(f"{path}: {error}; rebuild trace_index") from error
        tokens, suffixes = arrays
        if len(tokens) != len(suffixes):
            raise SegmentError(
                f"{folder / name}{SUFFIXES}: {len(suffixes):,} suffixes of {len(tokens):,} tokens; rebuild trace_index"
            )
        self.tokens, self.suffixes = tokens, suffixes
        self.width = tokens.dtype.itemsize
        self._bytes = memoryview(tokens.view(np.uint8))

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    def encoded(self, tokens: Iterable[int]) -> bytes:
        """A query: the bytes of tokens as the segment stores them."""
        return np.asarray(list(tokens), self.tokens.dtype).tobytes()

    def _suffix(self, position: int, length: int) -> bytes:
        """At most `length` bytes from a token's position."""
        start = int(position) * self.width
        return bytes(self._bytes[start : start + length])

    def longest_match(self, query: bytes) -> int:
        """How many tokens from the query's first are somewhere in the segment in this order."""
        size = len(query)
        place = bisect_left(self.suffixes, query, key=lambda position: self._suffix(position, size))
        # A suffix that shares most with the query is next to where the query would stand.
        neighbours = [number for number in (place - 1, place) if 0 <= number < len(self)]
        shared = [_common_bytes(query, self._suffix(self.suffixes[number], size)) for number in neighbours]
        return max(shared, default=0) // self.width

    def range(self, query: bytes) -> tuple[int, int]:
        """The range of suffixes that begin with the query."""
        size = len(query)

        def key(position: int) -> bytes:
            return self._suffix(position, size)

        first = bisect_left(self.suffixes, query, key=key)
        return first, bisect_right(self.suffixes, query, lo=first, key=key)


def _common_bytes(first: bytes, second: bytes) -> int:
    """The length of the longest common prefix."""
    size = min(len(first), len(second))
    differs = np.frombuffer(first, np.uint8, size) != np.frombuffer(second, np.uint8, size)
    return int(differs.argmax()) if differs.any() else size
