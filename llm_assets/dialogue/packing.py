"""Packs whole conversations into sequences, several to a sequence; none is cut.

A conversation of n tokens takes n - 1 positions of a sequence: all but its last token are inputs, all but its first are
targets. Positions without loss (text of users and tools, padding) have IGNORE as their target. Attention does not cross
from one conversation into another, because the model masks it at the BOS token that begins each conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_assets.model import IGNORE
from llm_assets.training.sequences import SequenceSource

# Sequences that are filled at the same time. With 32, conversations of 65 tokens fill sequences of 256 tokens to 98 %.
OPEN_SEQUENCES = 32


@dataclass(frozen=True)
class Conversations:
    """All conversations end to end.

    tokens: (n,) uint32. trained: (n,) bool, whether loss is computed on the token as a target. starts:
    (conversations + 1,) int64, the offset at which each conversation begins, and n.
    """

    tokens: np.ndarray
    trained: np.ndarray
    starts: np.ndarray

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, tokens=self.tokens, trained=self.trained, starts=self.starts)

    @classmethod
    def load(cls, path: Path) -> Conversations:
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["trained"], arrays["starts"])

    def __len__(self) -> int:
        return len(self.starts) - 1


def pack(lengths: np.ndarray, capacity: int, order: np.ndarray) -> list[list[int]]:
    """Assign conversations, in the given order, to sequences of at most `capacity` positions, by best fit.

    lengths: (conversations,) positions that each conversation takes. Returns the conversation numbers of each sequence.
    """
    open_sequences: list[tuple[int, list[int]]] = []  # free positions, conversations
    packed: list[list[int]] = []

    def free_positions(index: int) -> int:
        return open_sequences[index][0]

    for number in order.tolist():
        length = int(lengths[number])
        candidates = (index for index in range(len(open_sequences)) if free_positions(index) >= length)
        best = min(candidates, key=free_positions, default=None)
        if best is None:
            if len(open_sequences) == OPEN_SEQUENCES:
                fullest = min(range(len(open_sequences)), key=free_positions)
                packed.append(open_sequences.pop(fullest)[1])
            open_sequences.append((capacity - length, [number]))
        else:
            free, conversations = open_sequences[best]
            conversations.append(number)
            open_sequences[best] = (free - length, conversations)
    return [*packed, *(conversations for _, conversations in open_sequences)]


class PackedConversations:
    """Sequences of packed conversations, epoch after epoch, each in another order.

    A sequence is a function of the seed and of its number, so that a resumed training run continues with the same data.
    Raises ValueError if there is no conversation, or one that does not fit into the context.
    """

    def __init__(self, conversations: Conversations, context: int, seed: int, padding: int, shuffle: bool = True):
        lengths = np.diff(conversations.starts) - 1
        if not len(lengths):
            raise ValueError("no conversation to train on")
        if int(lengths.max()) > context:
            raise ValueError(f"a conversation of {int(lengths.max()) + 1} tokens does not fit into {context}")
        self.conversations, self.context, self.seed = conversations, context, seed
        self.padding, self.shuffle = padding, shuffle
        self._lengths = lengths
        self._epoch_starts: list[int] = [0]  # the number of each epoch's first sequence
        self._cached_epoch: dict[int, list[list[int]]] = {}  # the sequences of the last epoch that was used
        self.sequences_per_epoch = len(self._epoch(0))

    def _epoch(self, epoch: int) -> list[list[int]]:
        """The sequences of an epoch, as lists of conversation numbers."""
        if epoch not in self._cached_epoch:
            random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
            count = len(self._lengths)
            order = random.permutation(count) if self.shuffle else np.arange(count)
            sequences = pack(self._lengths, self.context, order)
            if self.shuffle:
                # Packing emits the fullest sequences last; a step's batch should mix conversations of all lengths.
                sequences = [sequences[index] for index in random.permutation(len(sequences))]
            self._cached_epoch = {epoch: sequences}
            if len(self._epoch_starts) == epoch + 1:
                self._epoch_starts.append(self._epoch_starts[epoch] + len(sequences))
        return self._cached_epoch[epoch]

    def _sequence(self, number: int) -> list[int]:
        """The conversation numbers of a sequence."""
        while number >= self._epoch_starts[-1]:
            self._epoch(len(self._epoch_starts) - 1)
        epoch = next(index for index, end in enumerate(self._epoch_starts[1:]) if number < end)
        return self._epoch(epoch)[number - self._epoch_starts[epoch]]

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Sequences [first, first + count): inputs and targets, both (count, context) int64."""
        inputs = np.full((count, self.context), self.padding, np.int64)
        targets = np.full((count, self.context), IGNORE, np.int64)
        tokens_of_all, trained, starts = (
            self.conversations.tokens,
            self.conversations.trained,
            self.conversations.starts,
        )
        for row in range(count):
            position = 0
            for number in self._sequence(first + row):
                start, end = int(starts[number]), int(starts[number + 1])
                stop = position + end - start - 1
                # Tokens are stored unsigned, and IGNORE is negative.
                tokens = tokens_of_all[start:end].astype(np.int64)
                inputs[row, position:stop] = tokens[:-1]
                targets[row, position:stop] = np.where(trained[start + 1 : end], tokens[1:], IGNORE)
                position = stop
        return inputs, targets


def replay_conversations(path: str | None, context: int, seed: int, padding: int) -> PackedConversations | None:
    """The sequences that a later training replays, from a file of conversations; None if there is no file."""
    return None if path is None else PackedConversations(Conversations.load(Path(path)), context, seed, padding)


class MixedSequences:
    """Sequences of two sources, of which the second has the given share, evenly spread.

    Each sequence is a function of its number.
    """

    def __init__(self, first: SequenceSource, second: SequenceSource | None, share: float):
        self.first, self.second = first, second
        self.share = share if second is not None else 0.0

    def _second_before(self, number: int) -> int:
        """How many sequences of the second source come before sequence `number`."""
        return int(number * self.share + 1e-9)

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Sequences [first, first + count): inputs and targets, both (count, context) int64."""
        batches = []
        for number in range(first, first + count):
            before = self._second_before(number)
            if self._second_before(number + 1) > before:
                assert self.second is not None
                batches.append(self.second.batch(before, 1))
            else:
                batches.append(self.first.batch(number - before, 1))
        return np.concatenate([inputs for inputs, _ in batches]), np.concatenate([targets for _, targets in batches])
