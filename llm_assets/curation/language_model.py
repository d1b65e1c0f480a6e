"""fastText classifiers read and run over whole batches of pages, with the library's own arithmetic.

The library spends most of a prediction on strings: it hashes 20,000 character n-grams of a 6 kB page through
`std::string` and `std::unordered_map`, to find that most of them were pruned from the compressed model. Here the n-grams
are hashed in place, a bit set says which survive, and the input matrix is dequantised once. Same n-grams, same rows, same
order of sums: the scores agree to 1e-5 (tests hold them against the library on texts of many scripts).

Format and arithmetic: facebookresearch/fastText v0.9.2 (`dictionary.cc`, `quantmatrix.cc`, `loss.cc`); Joulin et al.,
"FastText.zip: Compressing text classification models", arXiv:1612.03651.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.errors import ExternalInputError
from llm_assets.compute.compiled import compiled

from .text_buffers import utf8_buffers

_MAGIC, _VERSION = 793712314, 12
_HIERARCHICAL_SOFTMAX, _SOFTMAX = 1, 3
_SUPERVISED = 3
_LABEL = b"__label__"
_EOS = b"</s>"
# Files are untrusted: no count in a header may ask for more than this many bytes.
_MOST_BYTES = 4 << 30


class LanguageModelError(ExternalInputError, ValueError):
    """The language model's file is missing or no fastText model that can be run; the message names it."""


class _Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple:
        size = struct.calcsize(layout)
        if self.at + size > len(self.data):
            raise LanguageModelError("the file ends too early")
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += size
        return values

    def array(self, dtype: type, count: int) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        if count < 0 or size > _MOST_BYTES or self.at + size > len(self.data):
            raise LanguageModelError("the file ends too early")
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += size
        return values

    def word(self) -> bytes:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise LanguageModelError("the file ends too early")
        value, self.at = self.data[self.at : end], end + 1
        return value

    def dense(self) -> np.ndarray:
        rows, columns = self.take("<qq")
        if rows < 0 or columns < 0:
            raise LanguageModelError(f"a matrix of {rows} by {columns}")
        return self.array(np.float32, rows * columns).reshape(rows, columns).copy()

    def quantised(self) -> np.ndarray:
        """A product-quantised matrix, dequantised: float32 (rows, columns)."""
        has_norms, rows, columns, size = self.take("<?qqi")
        codes = self.array(np.uint8, size)
        matrix = self._decode(codes, rows, columns)
        if has_norms:
            matrix *= self._decode(self.array(np.uint8, rows), rows, 1)
        return matrix

    def _decode(self, codes: np.ndarray, rows: int, columns: int) -> np.ndarray:
        dimension, parts, width, last = self.take("<iiii")
        centroids = self.array(np.float32, dimension * 256)
        if dimension != columns or parts < 1 or rows * parts != len(codes) or (parts - 1) * width + last != dimension:
            raise LanguageModelError("a quantised matrix whose sizes do not fit")
        codes = codes.reshape(rows, parts)
        pieces = []
        for part in range(parts):
            wide = width if part < parts - 1 else last
            table = centroids[part * 256 * width : part * 256 * width + 256 * wide].reshape(256, wide)
            pieces.append(table[codes[:, part]])
        return np.ascontiguousarray(np.concatenate(pieces, axis=1))


@dataclass(frozen=True)
class LanguageModel:
    """A supervised fastText model, ready to run. `labels` without their prefix."""

    labels: tuple[str, ...]
    rows: np.ndarray  # float32 (words + kept n-grams, dimension): the input matrix
    word_keys: np.ndarray  # uint64: open-addressed table of the words' FNV-1a hashes, 0 where empty
    word_ids: np.ndarray  # int32: their row
    bucket_rows: np.ndarray  # int32 (buckets,): row of a hashed n-gram, -1 where it was pruned
    kept: np.ndarray  # uint8: the same as a bit set, small enough for the cache
    eos_row: int  # row of the end-of-line token, -1 if the model has none
    lengths: tuple[int, int]  # least and greatest n-gram, characters
    nodes: np.ndarray  # float32 (nodes, dimension): output matrix
    children: np.ndarray  # int32 (nodes, 2) of the Huffman tree; empty for a plain softmax

    def top(self, texts: pl.Series, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k most probable labels (index into `labels`, int32, (n, k)) and their probabilities (float32), best first.

        Line breaks count as spaces: the library reads one line. So does a literal "</s>", at which the library would
        stop reading the page.
        """
        data, offsets = utf8_buffers(texts)
        k = min(k, len(self.labels))
        found, scores = np.zeros((len(texts), k), np.int32), np.zeros((len(texts), k), np.float32)
        _predict(
            data,
            offsets,
            self.rows,
            self.word_keys,
            self.word_ids,
            self.bucket_rows,
            self.kept,
            self.eos_row,
            self.lengths[0],
            self.lengths[1],
            self.nodes,
            self.children,
            found,
            scores,
        )
        return found, scores


@lru_cache(maxsize=2)
def load_language_model(path: Path) -> LanguageModel:
    """Read a fastText model file (.bin or .ftz). Raises LanguageModelError."""
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError as error:
        raise LanguageModelError(f"language model {path.absolute()}: no such file") from error
    except (LanguageModelError, OSError) as error:
        raise LanguageModelError(f"language model {path}: {error}") from error


def _parse(data: bytes) -> LanguageModel:
    reader = _Reader(data)
    magic, version = reader.take("<ii")
    if magic != _MAGIC or version != _VERSION:
        raise LanguageModelError("not a fastText model of format 12")
    dimension, _, _, _, _, word_ngrams, loss, kind, buckets, shortest, longest, _, _ = reader.take("<12id")
    if kind != _SUPERVISED or loss not in (_HIERARCHICAL_SOFTMAX, _SOFTMAX) or word_ngrams > 1:
        raise LanguageModelError(
            f"a model of kind {kind}, loss {loss}, word n-grams {word_ngrams}; supported: supervised, softmax or hierarchical softmax, no word n-grams"
        )
    size, words, label_count, _, pruned = reader.take("<iiiqq")
    if not (
        0 < label_count <= size
        and words + label_count == size
        and 0 <= buckets <= 1 << 28
        and 0 <= longest <= 32
        and shortest >= 0
    ):
        raise LanguageModelError("header with impossible counts")
    vocabulary, labels, counts = [], [], []
    for index in range(size):
        word = reader.word()
        count, entry_kind = reader.take("<qb")
        if (entry_kind == 1) != (index >= words):
            raise LanguageModelError("labels and words out of order")
        if entry_kind == 1:
            labels.append(word.removeprefix(_LABEL).decode("utf-8", "replace"))
            counts.append(count)
        else:
            vocabulary.append(word)
    bucket_rows = np.full(max(buckets, 1), -1, np.int32)
    if pruned > 0:
        pairs = reader.array(np.int32, pruned * 2).reshape(-1, 2)
        if len(pairs) and (pairs.min() < 0 or pairs[:, 0].max() >= buckets):
            raise LanguageModelError("pruned n-grams out of range")
        bucket_rows[pairs[:, 0]] = words + pairs[:, 1]
    elif pruned < 0:
        bucket_rows[:] = words + np.arange(max(buckets, 1))
    (quantised,) = reader.take("<?")
    rows = reader.quantised() if quantised else reader.dense()
    (output_quantised,) = reader.take("<?")
    nodes = reader.quantised() if quantised and output_quantised else reader.dense()
    if (
        rows.shape[1] != dimension
        or nodes.shape[1] != dimension
        or len(rows) < words
        or (bucket_rows.max(initial=-1) >= len(rows) and longest > 0)
        or len(nodes) != label_count
    ):
        raise LanguageModelError("matrices that do not fit the dictionary")
    table = 1 << max(4, (2 * len(vocabulary)).bit_length())
    keys, ids = np.zeros(table, np.uint64), np.full(table, -1, np.int32)
    for index, word in enumerate(vocabulary):
        slot = (key := _word_key(word)) & (table - 1)
        while keys[slot]:
            slot = (slot + 1) & (table - 1)
        keys[slot], ids[slot] = key, index
    children = _huffman(counts) if loss == _HIERARCHICAL_SOFTMAX else np.zeros((0, 2), np.int32)
    eos = vocabulary.index(_EOS) if _EOS in vocabulary else -1
    return LanguageModel(
        tuple(labels),
        rows,
        keys,
        ids,
        bucket_rows,
        np.packbits(bucket_rows >= 0, bitorder="little"),
        eos,
        (shortest, longest),
        nodes,
        children,
    )


def _word_key(word: bytes) -> int:
    """64-bit FNV-1a, never 0: two of a model's words with one key would be one in 10^13."""
    key = 0xCBF29CE484222325
    for byte in word:
        key = ((key ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return key or 1


def _huffman(counts: list[int]) -> np.ndarray:
    """Children of the Huffman tree's inner nodes, as the library numbers them: leaf i is label i, the root is last.

    Row i belongs to node `labels + i`. Counts are in falling order (the dictionary is sorted).
    """
    labels = len(counts)
    weight = [*counts, *[10**15] * (labels - 1)]
    children = np.zeros((labels - 1, 2), np.int32)
    leaf, node = labels - 1, labels
    for parent in range(labels, 2 * labels - 1):
        for side in range(2):
            if leaf >= 0 and weight[leaf] < weight[node]:
                child, leaf = leaf, leaf - 1
            else:
                child, node = node, node + 1
            children[parent - labels, side] = child
        weight[parent] = weight[children[parent - labels, 0]] + weight[children[parent - labels, 1]]
    return children


@compiled
def _predict(
    data,
    offsets,
    rows,
    word_keys,
    word_ids,
    bucket_rows,
    kept,
    eos_row,
    shortest,
    longest,
    nodes,
    children,
    found,
    scores,
):  # type: ignore[no-untyped-def]
    dimension = rows.shape[1]
    labels = nodes.shape[0]
    buckets = np.uint32(len(bucket_rows))
    mask = np.uint64(len(word_keys) - 1)
    hidden = np.zeros(dimension, np.float32)
    score = np.zeros(2 * labels, np.float32)
    k = found.shape[1]
    for page in range(len(offsets) - 1):
        hidden[:] = 0.0
        used = 0
        at, end = offsets[page], offsets[page + 1]
        while at < end:
            byte = data[at]
            if byte == 32 or (9 <= byte <= 13) or byte == 0:
                at += 1
                continue
            start = at
            key = np.uint64(0xCBF29CE484222325)
            while at < end:
                byte = data[at]
                if byte == 32 or (9 <= byte <= 13) or byte == 0:
                    break
                key = (key ^ np.uint64(byte)) * np.uint64(0x100000001B3)
                at += 1
            if (
                at - start == 4
                and data[start] == 60
                and data[start + 1] == 47
                and data[start + 2] == 115
                and data[start + 3] == 62
            ):
                continue  # "</s>"
            if key == 0:
                key = np.uint64(1)
            slot = key & mask
            while word_keys[slot] != 0 and word_keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            word = word_ids[slot] if word_keys[slot] == key else -1
            if word >= 0:
                used += 1
                for d in range(dimension):
                    hidden[d] += rows[word, d]
            if longest <= 0:
                continue
            # The word between "<" and ">": position start - 1 is the first, at the last.
            for first in range(start - 1, at + 1):
                if start <= first < at and (data[first] & 0xC0) == 0x80:
                    continue
                code = np.uint32(2166136261)
                position = first
                length = 1
                while position <= at and length <= longest:
                    value = (
                        np.uint32(60)
                        if position < start
                        else np.uint32(62)
                        if position == at
                        else np.uint32(data[position])
                    )
                    if value > 127:  # the library hashes signed characters
                        value |= np.uint32(0xFFFFFF00)
                    code = np.uint32((code ^ value) * np.uint32(16777619))
                    position += 1
                    while position < at and (data[position] & 0xC0) == 0x80:
                        code = np.uint32(
                            (code ^ (np.uint32(data[position]) | np.uint32(0xFFFFFF00))) * np.uint32(16777619)
                        )
                        position += 1
                    if length >= shortest and not (length == 1 and (first < start or position > at)):
                        bucket = code % buckets
                        if kept[bucket >> 3] >> (bucket & 7) & 1:
                            row = bucket_rows[bucket]
                            used += 1
                            for d in range(dimension):
                                hidden[d] += rows[row, d]
                    length += 1
        if eos_row >= 0:
            used += 1
            for d in range(dimension):
                hidden[d] += rows[eos_row, d]
        if used:
            scale = np.float32(1.0 / used)
            for d in range(dimension):
                hidden[d] *= scale
        if len(children):
            score[2 * labels - 2] = 0.0
            for inner in range(len(children) - 1, -1, -1):
                dot = np.float32(0.0)
                for d in range(dimension):
                    dot += hidden[d] * nodes[inner, d]
                right = 1.0 / (1.0 + np.exp(-dot))
                # 1e-5 inside the logarithm is the library's.
                score[children[inner, 0]] = score[labels + inner] + np.log(1.0 - right + 1e-5)
                score[children[inner, 1]] = score[labels + inner] + np.log(right + 1e-5)
        else:
            highest = np.float32(-np.inf)
            for label in range(labels):
                dot = np.float32(0.0)
                for d in range(dimension):
                    dot += hidden[d] * nodes[label, d]
                score[label] = dot
                highest = max(highest, dot)
            total = 0.0
            for label in range(labels):
                total += np.exp(score[label] - highest)
            for label in range(labels):
                score[label] = np.log(np.exp(score[label] - highest) / total + 1e-5)
        for place in range(k):
            best = -1
            for label in range(labels):
                taken = False
                for earlier in range(place):
                    taken = taken or found[page, earlier] == label
                if not taken and (best < 0 or score[label] > score[best]):
                    best = label
            found[page, place] = best
            scores[page, place] = np.exp(score[best])
