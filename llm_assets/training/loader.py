"""The order in which tokens are trained on: a function of seed and row number, whatever the number of processes.

Each epoch's documents are shuffled by (seed, epoch) and laid end to end, epoch after epoch: one endless stream. Row r
holds the T tokens at positions r·T … (r + 1)·T, and as targets those one further on. Nothing is cut off or padded: every
token is an input once an epoch, and a target once. Where a row's end cuts a document, it goes on in the next row; that
attention does not reach from one document into another is the model's mask (`document_mask`), by the BOS in front of each.
"""

from __future__ import annotations

import numpy as np

from .shards import TokenStream


class LoaderError(ValueError):
    """Too little to train on; the message says how much there is."""


class PackedRows:
    """Rows of one stream. `tokens` are inputs, `targets` what should follow each, both (rows, context) int64."""

    def __init__(self, stream: TokenStream, context: int, seed: int, shuffle: bool = True):
        if not len(stream):
            raise LoaderError(f"the {stream.split} split holds no tokens")
        self.stream, self.context, self.seed, self.shuffle = stream, context, seed, shuffle
        self._epoch = -1

    @property
    def rows_per_epoch(self) -> float:
        return len(self.stream) / self.context

    def order(self, epoch: int) -> np.ndarray:
        """The documents in the order of this epoch, (documents,) int64."""
        if not self.shuffle:
            return np.arange(self.stream.documents)
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.stream.documents)

    def _positions(self, start: int, count: int) -> np.ndarray:
        """Tokens [start, start + count) of the endless stream."""
        out = np.empty(count, np.int64)
        done = 0
        while done < count:
            epoch, within = divmod(start + done, len(self.stream))
            if epoch != self._epoch:
                self._order = self.order(epoch)
                self._edges = np.concatenate([[0], np.cumsum(self.stream.lengths[self._order])])
                self._epoch = epoch
            place = int(np.searchsorted(self._edges, within, "right")) - 1
            while done < count and place < len(self._order):
                skip = start + done - epoch * len(self.stream) - self._edges[place]
                document = self._order[place]
                taken = int(min(self.stream.lengths[document] - skip, count - done))
                out[done : done + taken] = self.stream.tokens(int(self.stream.starts[document] + skip), taken)
                done += taken
                place += 1
        return out

    def rows(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows [first, first + count): inputs and targets."""
        both = self._positions(first * self.context, count * self.context + 1)
        return both[:-1].reshape(count, self.context), both[1:].reshape(count, self.context)

    def times_seen(self, rows: int) -> np.ndarray:
        """How often each document was trained on (wholly or in part) after so many rows, (documents,) int64."""
        epochs, within = divmod(rows * self.context, len(self.stream))
        seen = np.full(self.stream.documents, epochs, np.int64)
        if within:
            order = self.order(epochs)
            edges = np.cumsum(self.stream.lengths[order]) - self.stream.lengths[order]
            seen[order[edges < within]] += 1
        return seen
