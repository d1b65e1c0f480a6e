"""Baselines of the language model, in bits per byte of the same text: a 5-gram model of bytes, gzip and xz."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterable

import numpy as np

ORDER = 5
CHUNK_BYTES = 16 << 20  # bytes of text that are counted together


class ByteNgrams:
    """Witten–Bell interpolation of orders 1 to 5 over bytes (Witten, Bell, IEEE Trans. Inf. Theory 37, 1991).

    P(w | h) = (count(h w) + types(h) P(w | h without its first byte)) / (count(h) + types(h)); below order 1, 1/256.
    """

    def __init__(self, texts: Iterable[bytes]):
        grams: list[dict[str, np.ndarray]] = [
            {"keys": np.zeros(0, np.uint64), "counts": np.zeros(0, np.int64)} for _ in range(ORDER)
        ]
        for data in _chunks(texts):
            for order in range(1, ORDER + 1):
                keys, counts = np.unique(_keys(data, order), return_counts=True)
                known = grams[order - 1]
                merged, place = np.unique(np.concatenate([known["keys"], keys]), return_inverse=True)
                grams[order - 1] = {
                    "keys": merged,
                    "counts": np.bincount(place, np.concatenate([known["counts"], counts]), len(merged)).astype(
                        np.int64
                    ),
                }
        self.grams = grams
        # Of each history: how many bytes followed it, and how many different ones.
        self.histories = []
        for gram in grams:
            keys, first = np.unique(gram["keys"] >> np.uint64(8), return_index=True)
            totals = np.add.reduceat(gram["counts"], first) if len(first) else np.zeros(0, np.int64)
            self.histories.append({"keys": keys, "totals": totals, "types": np.diff([*first, len(gram["keys"])])})

    def probabilities(self, data: np.ndarray) -> np.ndarray:
        """The probability of each byte after its history, (n,) float64. data: (n,) uint8; the first bytes have shorter
        histories.
        """
        probability = np.full(len(data), 1 / 256)
        for order in range(1, ORDER + 1):
            keys = _keys(data, order)
            gram, history = self.grams[order - 1], self.histories[order - 1]
            count = _look_up(gram["keys"], gram["counts"], keys)
            past = keys >> np.uint64(8)
            total, types = (
                _look_up(history["keys"], history["totals"], past),
                _look_up(history["keys"], history["types"], past),
            )
            # If the history was never seen, the probability after the shorter one is kept.
            longer = probability[order - 1 :]
            probability[order - 1 :] = np.where(
                total > 0, (count + types * longer) / np.maximum(total + types, 1), longer
            )
        return probability

    def bits_per_byte(self, texts: Iterable[bytes]) -> float:
        """The mean of -log2 P over all bytes; each text starts without a history."""
        bits = size = 0.0
        for text in texts:
            data = np.frombuffer(text, np.uint8)
            bits -= float(np.log2(self.probabilities(data)).sum())
            size += len(data)
        return bits / max(size, 1)


def _keys(data: np.ndarray, order: int) -> np.ndarray:
    """The n-grams of bytes as numbers, the first byte most significant; (len - order + 1,) uint64."""
    count = max(len(data) - order + 1, 0)
    keys = np.zeros(count, np.uint64)
    for place in range(order):
        keys = (keys << np.uint64(8)) | data[place : place + count].astype(np.uint64)
    return keys


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values of the wanted keys, 0 for keys that are missing. keys: sorted."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def _chunks(texts: Iterable[bytes]) -> Iterable[np.ndarray]:
    """The texts, concatenated in chunks that numpy sorts in a second or two.

    N-grams across the ends of texts are counted too; they are few.
    """
    pending: list[bytes] = []
    size = 0
    for text in texts:
        pending.append(text)
        size += len(text)
        if size >= CHUNK_BYTES:
            yield np.frombuffer(b"".join(pending), np.uint8)
            pending, size = [], 0
    if size:
        yield np.frombuffer(b"".join(pending), np.uint8)


def compressed_bits_per_byte(texts: Iterable[bytes]) -> dict[str, float]:
    """Bits per byte by gzip and xz at their highest levels, of the concatenated texts, headers included."""
    data = b"".join(texts)
    sizes = {
        "gzip -9": len(gzip.compress(data, 9, mtime=0)),
        "xz -9e": len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
    }
    return {name: 8 * size / max(len(data), 1) for name, size in sizes.items()}
