"""The most common words of a corpus, from which questions and problems are made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

COMMON_WORDS = 5_000  # most common words of three to twelve letters to take from the corpus
CHARACTERS_READ = 32 << 20  # of the corpus, in which words are counted


def common_words(
    texts: Iterable[str], pattern: str, count: int, characters: int | None = None, count_texts: bool = False
) -> list[str]:
    """The `count` most common matches of `pattern`, most common first, ties in alphabetical order.

    characters: stop reading after the text with which more than this many characters have been read; None reads all.
    count_texts: count the texts that contain a word rather than its occurrences.
    """
    counts: Counter[str] = Counter()
    characters_left = characters
    for text in texts:
        words = re.findall(pattern, text)
        counts.update(set(words) if count_texts else words)
        if characters_left is not None:
            characters_left -= len(text)
            if characters_left < 0:
                break
    by_frequency = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, _ in by_frequency[:count]]


def corpus_words(texts: Iterable[str]) -> list[str]:
    """The most common lower-case words in the first 33.5 million characters of a corpus, in alphabetical order."""
    return sorted(common_words(texts, r"(?<!\w)[a-z]{3,12}(?!\w)", COMMON_WORDS, CHARACTERS_READ))
