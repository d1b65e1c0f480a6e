"""Baselines of the language model, in bits per byte of the same text: what counting and copying alone would reach.

Both have seen the model's training text. A 5-gram model over the same tokens counts; xz, whose dictionary begins with
the training text, copies.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Sequence

import numpy as np

ORDER = 5
CHUNK_TOKENS = 4 << 20  # tokens that are counted together
# Odd constants of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), which mix the bits of a key.
_STEP, _FIRST, _SECOND = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class TokenNgrams:
    """Witten–Bell interpolation of orders 1 to 5 over tokens (Witten, Bell, IEEE Trans. Inf. Theory 37, 1991).

    P(w | h) = (count(h w) + types(h) P(w | h without its first token)) / (count(h) + types(h)); below order 1, one
    divided by the size of the vocabulary. N-grams are counted by 64-bit hashes: of a hundred million different ones,
    the chance that any two share a hash is 3 in 10,000.
    """

    def __init__(self, documents: Iterable[np.ndarray], vocabulary: int):
        """documents: token ids of each, (n,), with BOS first, which is a history but never predicted."""
        self.vocabulary = vocabulary
        empty = np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
        grams = [empty] * ORDER
        for chunk in _chunks(documents):
            for order, (keys, histories) in enumerate(_ngrams(chunk)):
                grams[order] = _merged(grams[order], keys, histories)
        self._counts = [(keys, counts) for keys, _, counts in grams]
        # Of each history: how many tokens followed it, and how many different ones.
        self._histories = [_by_history(histories, counts) for _, histories, counts in grams]

    def probabilities(self, document: np.ndarray) -> np.ndarray:
        """The probability of each token but the first (BOS), (n - 1,) float64. The first ones have short histories."""
        probability = np.full(max(len(document) - 1, 0), 1 / self.vocabulary)
        for order, (keys, histories) in enumerate(_ngrams([document])):
            count = _look_up(*self._counts[order], keys)
            known, totals, types = self._histories[order]
            total, different = _look_up(known, totals, histories), _look_up(known, types, histories)
            # If the history was never seen, the probability after the shorter one is kept.
            shorter = probability[len(probability) - len(keys) :]
            longer = (count + different * shorter) / np.maximum(total + different, 1)
            shorter[:] = np.where(total > 0, longer, shorter)
        return probability

    def bits_per_byte(self, documents: Iterable[np.ndarray], token_bytes: np.ndarray) -> float:
        """The sum of -log2 P over all tokens, divided by the bytes of their text. token_bytes: of each token, (V,)."""
        bits = size = 0.0
        for document in documents:
            bits += self.bits(document)
            size += float(token_bytes[document[1:]].sum())
        return bits / max(size, 1)

    def bits(self, document: np.ndarray) -> float:
        """The sum of -log2 P over the tokens of a document."""
        return -float(np.log2(self.probabilities(document)).sum())


def _ngrams(documents: Sequence[np.ndarray]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """For each order, the keys of the n-grams that end at the documents' tokens, and those of their histories.

    N-grams lie within a document; the first order has all tokens but BOS, each further one a token less per document.
    """
    tokens = np.concatenate([np.zeros(0, np.int64), *documents]).astype(np.uint64)
    places = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(document)) for document in documents)])
    histories = np.zeros(len(tokens), np.uint64)  # the key of the empty history
    for order in range(1, ORDER + 1):
        keys = _mixed(histories + (tokens + np.uint64(1)) * _STEP)
        # A history of order - 1 tokens may begin with BOS; BOS itself is not predicted.
        inside = places >= max(order - 1, 1)
        yield keys[inside], histories[inside]
        histories = np.concatenate([np.zeros(1, np.uint64), keys[:-1]])


def _mixed(keys: np.ndarray) -> np.ndarray:
    keys = (keys ^ (keys >> np.uint64(30))) * _FIRST
    keys = (keys ^ (keys >> np.uint64(27))) * _SECOND
    return keys ^ (keys >> np.uint64(31))


def _merged(
    known: tuple[np.ndarray, np.ndarray, np.ndarray], keys: np.ndarray, histories: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of n-grams, (keys, histories, counts) sorted by key, with further occurrences added."""
    all_keys = np.concatenate([known[0], keys])
    merged, first, place = np.unique(all_keys, return_index=True, return_inverse=True)
    weights = np.concatenate([known[2], np.ones(len(keys), np.int64)])
    counts = np.bincount(place, weights, len(merged)).astype(np.int64)
    return merged, np.concatenate([known[1], histories])[first], counts


def _by_history(histories: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different histories, sorted; how many tokens followed each, and how many different ones."""
    different, place, types = np.unique(histories, return_inverse=True, return_counts=True)
    return different, np.bincount(place, counts, len(different)).astype(np.int64), types


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values of the wanted keys, 0 for keys that are missing. keys: sorted."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def _chunks(documents: Iterable[np.ndarray]) -> Iterable[list[np.ndarray]]:
    """The documents in groups that numpy sorts in a second or two."""
    pending: list[np.ndarray] = []
    size = 0
    for document in documents:
        pending.append(document)
        size += len(document)
        if size >= CHUNK_TOKENS:
            yield pending
            pending, size = [], 0
    if size:
        yield pending


def primed_xz_bits_per_byte(training_text: bytes, text: bytes) -> float:
    """Bits by which a text makes xz's output larger if the training text comes first, per byte of the text.

    The dictionary of xz holds 64 MiB (preset 9), of which the end of a longer training text is used.
    """
    preset = 9 | lzma.PRESET_EXTREME
    primer = training_text[-(64 << 20) :]
    both, alone = (len(lzma.compress(data, preset=preset)) for data in (primer + text, primer))
    return 8 * (both - alone) / max(len(text), 1)
