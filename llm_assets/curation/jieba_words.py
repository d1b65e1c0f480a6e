"""Chinese words by jieba's dictionary and hidden Markov model, as FineWeb-2 splits Chinese (spaCy's `zh` with jieba).

rjieba (jieba-rs, MIT) has jieba's algorithm and dictionary, forty times as fast as the Python package. It differs in
words of Latin letters and digits, which jieba takes apart at their marks; these are split here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import polars as pl

# What jieba's dictionary and model see as one run, and what the model (finalseg) makes of one without ideographs.
_LATIN = re.compile(r"[a-zA-Z0-9+#&._%\-]*[+#&._%\-][a-zA-Z0-9+#&._%\-]*")
_LATIN_WORDS = re.compile(r"(AT&T|[cC](?:\+\+|#)|[a-zA-Z0-9]+(?:\.\d+)?%?)")


class GivenWords(NamedTuple):
    """The words of n texts, as spans of their code points."""

    offsets: np.ndarray  # int64 (n + 1,): where each text's words begin
    starts: np.ndarray  # int32
    ends: np.ndarray  # int32


NO_WORDS = GivenWords(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))


def split_chinese(text: str) -> list[str]:
    """The words of a text, white space included: their concatenation is the text."""
    from rjieba import cut

    words = []
    for word in cut(text):
        if _LATIN.fullmatch(word):
            words += [part for part in _LATIN_WORDS.split(word) if part]
        else:
            words.append(word)
    return words


def chinese_words(texts: pl.Series) -> GivenWords:
    """The words of the texts without white space. Nulls have none."""
    starts, ends, offsets = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [0]
    for text in texts:
        words = split_chinese(text or "")
        text_ends = np.cumsum(np.fromiter(map(len, words), np.int32, len(words)), dtype=np.int32)
        text_starts = np.concatenate([np.zeros(1, np.int32), text_ends[:-1]]) if len(words) else text_ends
        written = ~np.fromiter(map(str.isspace, words), bool, len(words))
        starts.append(text_starts[written])
        ends.append(text_ends[written])
        offsets.append(offsets[-1] + len(starts[-1]))
    return GivenWords(np.array(offsets, np.int64), np.concatenate(starts), np.concatenate(ends))
