"""fastText model files (.bin and .ftz) of supervised classifiers, read into plain arrays.

Format: facebookresearch/fastText v0.9.2 (`dictionary.cc`, `quantmatrix.cc`); Joulin et al., "FastText.zip: Compressing
text classification models", arXiv:1612.03651. Files are untrusted: a header that does not fit the file is an error.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_assets.artifacts.errors import ExternalInputError

_MAGIC, _VERSION = 793712314, 12
_SUPERVISED = 3
_HIERARCHICAL_SOFTMAX, _SOFTMAX = 1, 3
_LABEL_ENTRY = 1
_LABEL_PREFIX = b"__label__"
_MAX_BYTES = 4 << 30  # no array of a file may be larger
_MAX_BUCKETS = 1 << 28
_MAX_NGRAM = 32


class LanguageModelError(ExternalInputError, ValueError):
    """The language model's file is missing, or is no fastText model that can be run; the message names it."""


@dataclass(frozen=True)
class FastTextFile:
    """The content of a model file."""

    words: list[bytes]
    labels: list[str]  # without their prefix
    label_counts: list[int]  # occurrences in the training text, in falling order
    rows: np.ndarray  # float32 (words + kept n-grams, dimension): the input matrix
    bucket_rows: np.ndarray  # int32 (buckets,): row of each hashed n-gram, -1 where it was pruned
    shortest_ngram: int  # characters
    longest_ngram: int
    nodes: np.ndarray  # float32 (labels, dimension): the output matrix
    hierarchical: bool  # hierarchical softmax rather than a plain one


@dataclass(frozen=True)
class _Header:
    """Arguments of the training, and sizes of the dictionary."""

    dimension: int
    hierarchical: bool
    buckets: int
    shortest_ngram: int
    longest_ngram: int
    words: int
    labels: int
    pruned: int  # n-grams that are kept; -1: nothing was pruned


class _Reader:
    """The file's values in order. Every method raises LanguageModelError where the file ends too early."""

    def __init__(self, data: bytes | mmap.mmap):
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple:
        """Values of a `struct` layout."""
        size = struct.calcsize(layout)
        if self.at + size > len(self.data):
            raise LanguageModelError("the file ends too early")
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += size
        return values

    def array(self, dtype: type, count: int) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        if count < 0 or size > _MAX_BYTES or self.at + size > len(self.data):
            raise LanguageModelError("the file ends too early")
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += size
        return values

    def word(self) -> bytes:
        """Bytes up to the next zero."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise LanguageModelError("the file ends too early")
        value, self.at = self.data[self.at : end], end + 1
        return value

    def dense_matrix(self) -> np.ndarray:
        rows, columns = self.take("<qq")
        if rows < 1 or columns < 1:
            raise LanguageModelError(f"a matrix of {rows} by {columns}")
        return self.array(np.float32, rows * columns).reshape(rows, columns).copy()

    def quantised_matrix(self) -> np.ndarray:
        """A product-quantised matrix, dequantised: float32 (rows, columns)."""
        has_norms, rows, columns, size = self.take("<?qqi")
        codes = self.array(np.uint8, size)
        matrix = self._dequantise(codes, rows, columns)
        if has_norms:
            matrix *= self._dequantise(self.array(np.uint8, rows), rows, 1)
        return matrix

    def _dequantise(self, codes: np.ndarray, rows: int, columns: int) -> np.ndarray:
        dimension, parts, width, last_width = self.take("<iiii")
        centroids = self.array(np.float32, dimension * 256)
        fits = dimension == columns and parts >= 1 and rows * parts == len(codes)
        if not fits or (parts - 1) * width + last_width != dimension:
            raise LanguageModelError("the sizes of a quantised matrix do not fit")
        codes = codes.reshape(rows, parts)
        pieces = []
        for part in range(parts):
            part_width = width if part < parts - 1 else last_width
            first = part * 256 * width
            table = centroids[first : first + 256 * part_width].reshape(256, part_width)
            pieces.append(table[codes[:, part]])
        return np.ascontiguousarray(np.concatenate(pieces, axis=1))


def map_file(path: Path) -> bytes | mmap.mmap:
    """A file's bytes, read where they are looked at: GlotLID's model has 1.6 GB. Raises OSError."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def read_labels(path: Path) -> list[str]:
    """A model's labels, without their prefix, in milliseconds whatever its size. Raises LanguageModelError.

    Labels follow the words, none of which begins with the prefix.
    """
    try:
        reader = _Reader(map_file(path))
        header = _read_header(reader)
        reader.at = max(reader.data.find(_LABEL_PREFIX, reader.at), reader.at)
        return _read_entries(reader, 0, header.labels)[1]
    except (LanguageModelError, OSError) as error:
        raise LanguageModelError(f"language model {path}: {error}") from error


def parse_fasttext(data: bytes | mmap.mmap) -> FastTextFile:
    """The content of a model file. Raises LanguageModelError, with a message that does not name the file."""
    reader = _Reader(data)
    header = _read_header(reader)
    words, labels, counts = _read_entries(reader, header.words, header.labels)
    bucket_rows = _read_buckets(reader, header)
    (quantised,) = reader.take("<?")
    rows = reader.quantised_matrix() if quantised else reader.dense_matrix()
    (output_quantised,) = reader.take("<?")
    nodes = reader.quantised_matrix() if quantised and output_quantised else reader.dense_matrix()
    if (
        rows.shape[1] != header.dimension
        or nodes.shape[1] != header.dimension
        or len(rows) < header.words
        or (bucket_rows.max(initial=-1) >= len(rows) and header.longest_ngram > 0)
        or len(nodes) != header.labels
    ):
        raise LanguageModelError("the matrices do not fit the dictionary")
    return FastTextFile(
        words=words,
        labels=labels,
        label_counts=counts,
        rows=rows,
        bucket_rows=bucket_rows,
        shortest_ngram=header.shortest_ngram,
        longest_ngram=header.longest_ngram,
        nodes=nodes,
        hierarchical=header.hierarchical,
    )


def _read_header(reader: _Reader) -> _Header:
    magic, version = reader.take("<ii")
    if magic != _MAGIC or version != _VERSION:
        raise LanguageModelError("not a fastText model of format 12")
    dimension, _, _, _, _, word_ngrams, loss, kind, buckets, shortest, longest, _, _ = reader.take("<12id")
    if kind != _SUPERVISED or loss not in (_HIERARCHICAL_SOFTMAX, _SOFTMAX) or word_ngrams > 1:
        raise LanguageModelError(
            f"a model of kind {kind}, loss {loss}, word n-grams {word_ngrams}; supported: supervised, softmax or "
            "hierarchical softmax, no word n-grams"
        )
    size, words, labels, _, pruned = reader.take("<iiiqq")
    if not (
        0 < labels <= size
        and words + labels == size
        and 0 <= buckets <= _MAX_BUCKETS
        and 0 <= longest <= _MAX_NGRAM
        and shortest >= 0
    ):
        raise LanguageModelError("the header has impossible counts")
    return _Header(dimension, loss == _HIERARCHICAL_SOFTMAX, buckets, shortest, longest, words, labels, pruned)


def _read_entries(reader: _Reader, word_count: int, label_count: int) -> tuple[list[bytes], list[str], list[int]]:
    """Entries of the dictionary: words, labels, and the labels' counts. Words come first."""
    words, labels, counts = [], [], []
    for index in range(word_count + label_count):
        word = reader.word()
        count, kind = reader.take("<qb")
        if (kind == _LABEL_ENTRY) != (index >= word_count):
            raise LanguageModelError("labels and words are out of order")
        if kind == _LABEL_ENTRY:
            labels.append(word.removeprefix(_LABEL_PREFIX).decode("utf-8", "replace"))
            counts.append(count)
        else:
            words.append(word)
    return words, labels, counts


def _read_buckets(reader: _Reader, header: _Header) -> np.ndarray:
    """Row of each hashed n-gram (int32), -1 where it was pruned."""
    bucket_rows = np.full(max(header.buckets, 1), -1, np.int32)
    if header.pruned > 0:
        pairs = reader.array(np.int32, header.pruned * 2).reshape(-1, 2)
        if len(pairs) and (pairs.min() < 0 or pairs[:, 0].max() >= header.buckets):
            raise LanguageModelError("pruned n-grams are out of range")
        bucket_rows[pairs[:, 0]] = header.words + pairs[:, 1]
    elif header.pruned < 0:
        bucket_rows[:] = header.words + np.arange(max(header.buckets, 1))
    return bucket_rows
