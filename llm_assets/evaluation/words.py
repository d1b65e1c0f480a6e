"""The commonest words of a corpus, to make questions and problems of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

WORDS = 5_000  # commonest words of the corpus, of three to twelve letters
WORD_CHARACTERS = 32 << 20  # of the corpus, in which they are counted


def common_words(
    texts: Iterable[str], pattern: str, count: int, characters: int | None = None, count_texts: bool = False
) -> list[str]:
    """The `count` commonest matches of `pattern`, the commonest first, ties in alphabetical order.

    characters: reading stops after the text that exceeds so many; None reads all.
    count_texts: count the texts that hold a word rather than its occurrences.
    """
    counts: Counter[str] = Counter()
    room = characters
    for text in texts:
        words = re.findall(pattern, text)
        counts.update(set(words) if count_texts else words)
        if room is not None:
            room -= len(text)
            if room < 0:
                break
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count]]


def corpus_words(texts: Iterable[str]) -> list[str]:
    """The commonest lower-case words of the first megabytes of a corpus' texts, in alphabetical order."""
    return sorted(common_words(texts, r"(?<!\w)[a-z]{3,12}(?!\w)", WORDS, WORD_CHARACTERS))
