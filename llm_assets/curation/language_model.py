"""fastText classifiers, run over whole batches of pages with the library's own arithmetic.

The library spends most of a prediction on strings: it hashes 20,000 character n-grams of a 6 kB page through
`std::string` and `std::unordered_map`, to find that most of them were pruned from the compressed model. Here the
n-grams are hashed in place, a bit set says which survive, and the input matrix is dequantised once. The n-grams, the
rows and the order of sums are the same: scores agree to 1e-5 (tests compare them with the library's on texts of many
scripts).

Arithmetic: facebookresearch/fastText v0.9.2 (`dictionary.cc`, `loss.cc`). `fasttext_file` reads the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from llm_assets.compiled import compiled, inlined

from .fasttext_file import FastTextFile, LanguageModelError, map_file, parse_fasttext
from .text_buffers import utf8_buffers

_END_OF_LINE = b"</s>"
_FNV64_OFFSET, _FNV64_PRIME = 0xCBF29CE484222325, 0x100000001B3
_FNV32_OFFSET, _FNV32_PRIME = 2166136261, 16777619
_PENDING = 1_000  # n-grams that are collected before their rows are added


class Weights(NamedTuple):
    """A model as compiled code reads it."""

    rows: np.ndarray  # float32 (words + kept n-grams, dimension): the input matrix
    word_keys: np.ndarray  # uint64: open-addressed table of the words' FNV-1a hashes, 0 where empty
    word_ids: np.ndarray  # int32: their rows
    bucket_rows: np.ndarray  # int32 (buckets,): row of a hashed n-gram, -1 where it was pruned
    kept_buckets: np.ndarray  # uint8: which n-grams were not pruned, as a bit set small enough for the cache
    end_of_line_row: int  # row of the end-of-line token, -1 if the model has none
    shortest_ngram: int  # characters
    longest_ngram: int
    nodes: np.ndarray  # float32 (labels, dimension): output matrix
    children: np.ndarray  # int32 (labels - 1, 2) of the Huffman tree; empty for a plain softmax


@dataclass(frozen=True)
class LanguageModel:
    """A supervised fastText model, ready to run. `labels` are without their prefix."""

    labels: tuple[str, ...]
    weights: Weights

    def top(self, texts: pl.Series, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k most probable labels of n texts, best first: their indexes in `labels` and their probabilities.

        Arrays are int32 and float32 (n, k); k is at most the number of labels.
        Line breaks count as spaces, since the library reads one line. So does a literal "</s>", at which the library
        would stop reading the page.
        """
        data, offsets = utf8_buffers(texts)
        k = min(k, len(self.labels))
        best_labels, scores = np.zeros((len(texts), k), np.int32), np.zeros((len(texts), k), np.float32)
        _predict_pages(data, offsets, self.weights, best_labels, scores)
        return best_labels, scores


@lru_cache(maxsize=2)
def load_language_model(path: Path) -> LanguageModel:
    """Read a fastText model file (.bin or .ftz). Raises LanguageModelError."""
    try:
        return _prepare(parse_fasttext(map_file(path)))
    except FileNotFoundError as error:
        raise LanguageModelError(f"language model {path.absolute()}: no such file") from error
    except (LanguageModelError, OSError) as error:
        raise LanguageModelError(f"language model {path}: {error}") from error


def _prepare(file: FastTextFile) -> LanguageModel:
    """The tables that compiled code looks words and n-grams up in."""
    size = 1 << max(4, (2 * len(file.words)).bit_length())
    keys, ids = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
    for index, word in enumerate(file.words):
        key = _word_key(word)
        slot = key & (size - 1)
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot], ids[slot] = key, index
    weights = Weights(
        rows=file.rows,
        word_keys=keys,
        word_ids=ids,
        bucket_rows=file.bucket_rows,
        kept_buckets=np.packbits(file.bucket_rows >= 0, bitorder="little"),
        end_of_line_row=file.words.index(_END_OF_LINE) if _END_OF_LINE in file.words else -1,
        shortest_ngram=file.shortest_ngram,
        longest_ngram=file.longest_ngram,
        nodes=file.nodes,
        children=_huffman_children(file.label_counts) if file.hierarchical else np.zeros((0, 2), np.int32),
    )
    return LanguageModel(tuple(file.labels), weights)


def _word_key(word: bytes) -> int:
    """64-bit FNV-1a, never 0. That two of a model's words have one key has a probability of 10^-13."""
    key = _FNV64_OFFSET
    for byte in word:
        key = ((key ^ byte) * _FNV64_PRIME) & 0xFFFFFFFFFFFFFFFF
    return key or 1


def _huffman_children(counts: list[int]) -> np.ndarray:
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
def _predict_pages(data, offsets, weights, best_labels, scores):  # type: ignore[no-untyped-def]
    """Fill `best_labels` and `scores` (pages, k)."""
    labels = weights.nodes.shape[0]
    hidden = np.zeros(weights.rows.shape[1], np.float32)
    pending = np.empty(_PENDING + max(weights.longest_ngram, 0), np.uint32)
    log_probabilities = np.zeros(2 * labels, np.float32)
    for page in range(len(offsets) - 1):
        _embed_page(data, offsets[page], offsets[page + 1], weights, hidden, pending)
        if len(weights.children):
            _score_tree(weights.nodes, weights.children, hidden, log_probabilities)
        else:
            _score_labels(weights.nodes, hidden, log_probabilities)
        _pick_best(log_probabilities, labels, best_labels[page], scores[page])


# The innermost loop of language identification. It is one function because it takes 5 % more time when split.
@compiled
def _embed_page(data, start, end, weights, hidden, pending):  # type: ignore[no-untyped-def]
    """Write the page's embedding to `hidden`: the mean of the rows of its words and their character n-grams.

    A processor cannot foresee which n-grams were pruned. So they are collected in `pending` without a branch, and their
    rows are added later. It is long because words and their n-grams add to the same counters.
    """
    word_keys, word_ids, rows = weights.word_keys, weights.word_ids, weights.rows
    kept_buckets, count = weights.kept_buckets, 0
    shortest, longest = weights.shortest_ngram, weights.longest_ngram
    mask, buckets, dimension = np.uint64(len(word_keys) - 1), np.uint32(len(weights.bucket_rows)), rows.shape[1]
    hidden[:] = 0.0
    used = 0
    at = start
    while at < end:
        if _is_space(data[at]):
            at += 1
            continue
        word_start = at
        key = np.uint64(_FNV64_OFFSET)
        while at < end and not _is_space(data[at]):
            key = (key ^ np.uint64(data[at])) * np.uint64(_FNV64_PRIME)
            at += 1
        if _is_end_of_line(data, word_start, at):
            continue
        word = _find_word(key, word_keys, word_ids, mask)
        if word >= 0:
            used += _add_rows(hidden, weights, pending, count) + 1
            count = 0
            for d in range(dimension):
                hidden[d] += rows[word, d]
        if longest <= 0:
            continue
        # n-grams are of the word between "<" and ">": position word_start - 1 is the first of these, `at` the last.
        for first in range(word_start - 1, at + 1):
            if word_start <= first < at and (data[first] & 0xC0) == 0x80:
                continue
            code = np.uint32(_FNV32_OFFSET)
            position = first
            length = 1
            while position <= at and length <= longest:
                byte = data[position] if word_start <= position < at else _bracket(position, at)
                code = _hash_byte(code, byte)
                position += 1
                while position < at and (data[position] & 0xC0) == 0x80:
                    code = _hash_byte(code, data[position])
                    position += 1
                # The brackets alone are no n-grams.
                if length >= shortest and not (length == 1 and (first < word_start or position > at)):
                    bucket = code % buckets
                    pending[count] = bucket
                    count += kept_buckets[bucket >> 3] >> (bucket & 7) & 1
                length += 1
            if count >= _PENDING:
                used += _add_rows(hidden, weights, pending, count)
                count = 0
    used += _add_rows(hidden, weights, pending, count)
    if weights.end_of_line_row >= 0:
        used += 1
        for d in range(dimension):
            hidden[d] += rows[weights.end_of_line_row, d]
    if used:
        scale = np.float32(1.0 / used)
        for d in range(dimension):
            hidden[d] *= scale


@compiled
def _add_rows(hidden, weights, pending, count):  # type: ignore[no-untyped-def]
    """Add the rows of the first `count` buckets of `pending` to `hidden`; returns `count`."""
    rows, bucket_rows = weights.rows, weights.bucket_rows
    for i in range(count):
        row = bucket_rows[pending[i]]
        for d in range(len(hidden)):
            hidden[d] += rows[row, d]
    return count


@inlined
def _find_word(key, word_keys, word_ids, mask):  # type: ignore[no-untyped-def]
    """Row of the word with this FNV-1a hash, or -1."""
    if key == 0:
        key = np.uint64(1)
    slot = key & mask
    while word_keys[slot] != 0 and word_keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return word_ids[slot] if word_keys[slot] == key else -1


@inlined
def _bracket(position, end):  # type: ignore[no-untyped-def]
    """The "<" before a word, or the ">" at its end."""
    return np.uint8(62) if position == end else np.uint8(60)


@inlined
def _hash_byte(code, byte):  # type: ignore[no-untyped-def]
    """32-bit FNV-1a as the library computes it, which hashes signed characters."""
    value = np.uint32(byte)
    if value > 127:
        value |= np.uint32(0xFFFFFF00)
    return np.uint32((code ^ value) * np.uint32(_FNV32_PRIME))


@inlined
def _is_space(byte):  # type: ignore[no-untyped-def]
    return byte == 32 or (9 <= byte <= 13) or byte == 0


@inlined
def _is_end_of_line(data, start, end):  # type: ignore[no-untyped-def]
    """Whether a word is a literal "</s>"."""
    return (
        end - start == 4
        and data[start] == 60
        and data[start + 1] == 47
        and data[start + 2] == 115
        and data[start + 3] == 62
    )


@compiled
def _score_tree(nodes, children, hidden, log_probabilities):  # type: ignore[no-untyped-def]
    """Log probability of every node of the Huffman tree, from the root down; the first are the labels'."""
    labels = nodes.shape[0]
    log_probabilities[2 * labels - 2] = 0.0
    for inner in range(len(children) - 1, -1, -1):
        dot = np.float32(0.0)
        for d in range(len(hidden)):
            dot += hidden[d] * nodes[inner, d]
        right = 1.0 / (1.0 + np.exp(-dot))
        # 1e-5 inside the logarithm is the library's.
        log_probabilities[children[inner, 0]] = log_probabilities[labels + inner] + np.log(1.0 - right + 1e-5)
        log_probabilities[children[inner, 1]] = log_probabilities[labels + inner] + np.log(right + 1e-5)


@compiled
def _score_labels(nodes, hidden, log_probabilities):  # type: ignore[no-untyped-def]
    """Log probability of every label, by a plain softmax."""
    labels = nodes.shape[0]
    highest = np.float32(-np.inf)
    for label in range(labels):
        dot = np.float32(0.0)
        for d in range(len(hidden)):
            dot += hidden[d] * nodes[label, d]
        log_probabilities[label] = dot
        highest = max(highest, dot)
    total = 0.0
    for label in range(labels):
        total += np.exp(log_probabilities[label] - highest)
    for label in range(labels):
        log_probabilities[label] = np.log(np.exp(log_probabilities[label] - highest) / total + 1e-5)


@compiled
def _pick_best(log_probabilities, labels, best_labels, scores):  # type: ignore[no-untyped-def]
    """The most probable labels, as many as `best_labels` holds, and their probabilities."""
    for place in range(len(best_labels)):
        best = -1
        for label in range(labels):
            taken = False
            for earlier in range(place):
                taken = taken or best_labels[earlier] == label
            if not taken and (best < 0 or log_probabilities[label] > log_probabilities[best]):
                best = label
        best_labels[place] = best
        scores[place] = np.exp(log_probabilities[best])
