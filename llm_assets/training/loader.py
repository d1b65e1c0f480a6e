"""Sequences of documents, in an order that depends only on the seed and the sequence number.

Each epoch's documents are shuffled by (seed, epoch) and concatenated, epoch after epoch, to one endless stream.
Sequence n holds the T tokens at positions n·T … (n + 1)·T, and as targets the tokens one position later. Nothing is cut
off or padded: in each epoch, every token is an input once and a target once. A document that does not fit into a
sequence continues in the next one. The model's mask (`document_mask`) keeps attention within a document; it recognises
documents by the BOS at their start.
"""

from __future__ import annotations

import numpy as np

from .shards import TokenStream


class LoaderError(ValueError):
    """A split without tokens; the message names it."""


class PackedDocuments:
    """Training sequences of one split; a SequenceSource. context: tokens of a sequence."""

    def __init__(self, stream: TokenStream, context: int, seed: int, shuffle: bool = True):
        if not len(stream):
            raise LoaderError(f"the {stream.split} split holds no tokens")
        self.stream, self.context, self.seed, self.shuffle = stream, context, seed, shuffle
        self._epoch = -1

    @property
    def sequences_per_epoch(self) -> float:
        return len(self.stream) / self.context

    def order(self, epoch: int) -> np.ndarray:
        """The documents in the order of this epoch, (documents,) int64."""
        if not self.shuffle:
            return np.arange(self.stream.documents)
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.stream.documents)

    def _tokens(self, start: int, count: int) -> np.ndarray:
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

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Sequences [first, first + count): inputs and targets, both (count, context) int64."""
        tokens = self._tokens(first * self.context, count * self.context + 1)
        return tokens[:-1].reshape(count, self.context), tokens[1:].reshape(count, self.context)

    def times_seen(self, sequences: int) -> np.ndarray:
        """How often the first `sequences` sequences hold each document, in whole or in part, (documents,) int64."""
        epochs, within = divmod(sequences * self.context, len(self.stream))
        seen = np.full(self.stream.documents, epochs, np.int64)
        if within:
            order = self.order(epochs)
            starts = np.cumsum(self.stream.lengths[order]) - self.stream.lengths[order]
            seen[order[starts < within]] += 1
        return seen
