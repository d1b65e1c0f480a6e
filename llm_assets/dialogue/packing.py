"""Conversations packed into rows: whole ones, several a row, nothing cut.

A conversation of n tokens takes n - 1 places of a row: all but its last as inputs, all but its first as targets. What bears no
loss (what users and tools say, padding) has IGNORE as its target. That attention does not reach from one conversation
into another is the model's mask, by the BOS in front of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_assets.model import IGNORE
from llm_assets.training.sequences import SequenceSource

OPEN_ROWS = 32  # rows that are being filled at once: with 32, conversations of 65 tokens fill rows of 256 to 98 %


@dataclass(frozen=True)
class Conversations:
    """Tokens of all conversations end to end, which of them are trained, and where each begins: (n,), (n,), (conversations + 1,)."""

    tokens: np.ndarray
    trained: np.ndarray
    starts: np.ndarray

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, tokens=self.tokens, trained=self.trained, starts=self.starts)

    @classmethod
    def load(cls, path: Path) -> Conversations:
        with np.load(path) as found:
            return cls(found["tokens"], found["trained"], found["starts"])

    def __len__(self) -> int:
        return len(self.starts) - 1


def pack(lengths: np.ndarray, room: int, order: np.ndarray) -> list[list[int]]:
    """Rows as lists of conversations, each of at most `room` places in sum: best fit among the rows being filled."""
    open_rows: list[tuple[int, list[int]]] = []  # places left, conversations
    packed: list[list[int]] = []
    for number in order.tolist():
        places = int(lengths[number])
        best = min(
            (place for place in range(len(open_rows)) if open_rows[place][0] >= places),
            key=lambda place: open_rows[place][0],
            default=None,
        )
        if best is None:
            if len(open_rows) == OPEN_ROWS:
                fullest = min(range(len(open_rows)), key=lambda place: open_rows[place][0])
                packed.append(open_rows.pop(fullest)[1])
            open_rows.append((room - places, [number]))
        else:
            left, held = open_rows[best]
            held.append(number)
            open_rows[best] = (left - places, held)
    return [*packed, *(held for _, held in open_rows)]


class PackedConversations:
    """Rows of packed conversations, epoch after epoch, each in another order: a function of seed and row number."""

    def __init__(self, held: Conversations, context: int, seed: int, padding: int, shuffle: bool = True):
        lengths = np.diff(held.starts) - 1
        if not len(lengths):
            raise ValueError("no conversation to train on")
        if int(lengths.max()) > context:
            raise ValueError(f"a conversation of {int(lengths.max()) + 1} tokens does not fit into {context}")
        self.held, self.context, self.seed, self.padding, self.shuffle = held, context, seed, padding, shuffle
        self._lengths = lengths
        self._epochs: list[int] = [0]  # the first row of each epoch
        self._rows: dict[int, list[list[int]]] = {}
        self.sequences_per_epoch = len(self._epoch(0))

    def _epoch(self, epoch: int) -> list[list[int]]:
        if epoch not in self._rows:
            random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
            rows = pack(
                self._lengths,
                self.context,
                random.permutation(len(self._lengths)) if self.shuffle else np.arange(len(self._lengths)),
            )
            # Rows come out fullest last; steps should not be alike in length of conversation.
            self._rows = {epoch: [rows[place] for place in random.permutation(len(rows))] if self.shuffle else rows}
            if len(self._epochs) == epoch + 1:
                self._epochs.append(self._epochs[epoch] + len(rows))
        return self._rows[epoch]

    def _row(self, number: int) -> list[int]:
        epoch = next((place for place in range(len(self._epochs) - 1) if number < self._epochs[place + 1]), None)
        while epoch is None:
            self._epoch(len(self._epochs) - 1)
            if number < self._epochs[-1]:
                epoch = len(self._epochs) - 2
        return self._epoch(epoch)[number - self._epochs[epoch]]

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows [first, first + count): inputs and targets, (count, context) int64."""
        inputs = np.full((count, self.context), self.padding, np.int64)
        targets = np.full((count, self.context), IGNORE, np.int64)
        for row in range(count):
            place = 0
            for number in self._row(first + row):
                start, end = int(self.held.starts[number]), int(self.held.starts[number + 1])
                size = end - start - 1
                tokens = self.held.tokens[start:end].astype(
                    np.int64
                )  # they are stored unsigned, and IGNORE is negative
                inputs[row, place : place + size] = tokens[:-1]
                targets[row, place : place + size] = np.where(self.held.trained[start + 1 : end], tokens[1:], IGNORE)
                place += size
        return inputs, targets


def replay_conversations(path: str | None, context: int, seed: int, padding: int) -> PackedConversations | None:
    """The rows that a later training replays: those of a file of conversations, if it has one."""
    return None if path is None else PackedConversations(Conversations.load(Path(path)), context, seed, padding)


class MixedSequences:
    """Rows of two kinds, `share` of them of the second, evenly spread: a function of the row number."""

    def __init__(self, first: SequenceSource, second: SequenceSource | None, share: float):
        self.first, self.second, self.share = first, second, share if second is not None else 0.0

    def _seconds(self, number: int) -> int:
        """How many rows of the second kind come before row `number`."""
        return int(number * self.share + 1e-9)

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for number in range(first, first + count):
            before = self._seconds(number)
            if self._seconds(number + 1) > before:
                assert self.second is not None
                found.append(self.second.batch(before, 1))
            else:
                found.append(self.first.batch(number - before, 1))
        return np.concatenate([inputs for inputs, _ in found]), np.concatenate([targets for _, targets in found])
