"""Words of an answer that a tool had just returned, whether or not the training data has them too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

WINDOW = 3  # words; fewer that are the same in both are mostly phrases that any text has

_WORD = re.compile(r"\w+")


def tool_runs(answer: str, results: Sequence[str], window: int = WINDOW) -> list[tuple[int, int]]:
    """The places, as [start, end) in characters, of the words from tools.

    These are all words in runs of `window` words that stand verbatim, with what is between them, in one of the results.
    Runs that overlap are joined. Places are in order. The time grows linearly with the texts.
    """
    known_runs = {result[start:end] for result in results for start, end in _windows(result, window)}
    places: list[tuple[int, int]] = []
    for start, end in _windows(answer, window):
        if answer[start:end] in known_runs:
            if places and start <= places[-1][1]:
                places[-1] = (places[-1][0], end)
            else:
                places.append((start, end))
    return places


def _windows(text: str, window: int) -> Iterator[tuple[int, int]]:
    words = [match.span() for match in _WORD.finditer(text)]
    for first, last in zip(words, words[window - 1 :], strict=False):
        yield first[0], last[1]
