"""Excerpts of the corpus's pages, all of one length: what small base models are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llm_assets.training.sequences import TrainingError
from llm_assets.training.shards import TokenStream


class Excerpts:
    """Excerpts of pages as a stream that `recitations` reads. excerpts: (pages, T) tokens."""

    def __init__(self, excerpts: np.ndarray):
        self.excerpts = excerpts
        self.lengths = np.full(len(excerpts), excerpts.shape[1], np.int64)
        self.starts = np.arange(len(excerpts), dtype=np.int64) * excerpts.shape[1]

    def tokens(self, start: int, count: int) -> np.ndarray:
        """Tokens [start, start + count) of all excerpts one after the other."""
        return self.excerpts.reshape(-1)[start : start + count]


class RepeatedPages:
    """Each row of `excerpts` as often as `times` says, in an order drawn by seed; a SequenceSource.

    After the last row, the order begins again.
    """

    def __init__(self, excerpts: np.ndarray, times: np.ndarray, seed: int):
        self.excerpts = excerpts
        copies = np.repeat(np.arange(len(excerpts)), times)
        self.order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(copies)

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows [first, first + count): inputs and targets, both (count, T - 1) int64."""
        tokens = self.excerpts[self.order[np.arange(first, first + count) % len(self.order)]].astype(np.int64)
        return tokens[:, :-1], tokens[:, 1:]


def read_excerpts(
    shards: Sequence[str],
    kept_documents: str | None,
    split: str,
    tokens: int,
    needed: int,
    seed: int | None = None,
) -> np.ndarray:
    """`tokens` tokens of every page of a split that has as many, (pages, tokens).

    seed: draws the place of each excerpt on its page; None takes the beginnings. Raises TrainingError if these are
    fewer than `needed` pages.
    """
    stream = TokenStream(map(Path, shards), split, kept_documents)
    long_enough = np.flatnonzero(stream.lengths >= tokens)
    if len(long_enough) < needed:
        raise TrainingError(
            f"the {split} split has {len(long_enough):,} pages of {tokens} tokens or more, but the demonstration needs "
            f"{needed:,}; ask for fewer or shorter pages, or add crawls"
        )
    room = stream.lengths[long_enough] - tokens
    offsets = np.zeros_like(room)
    if seed is not None:
        offsets = np.random.Generator(np.random.Philox(key=[seed, 2])).integers(room, endpoint=True)
    starts = stream.starts[long_enough] + offsets
    return np.stack([stream.tokens(int(start), tokens) for start in starts])
