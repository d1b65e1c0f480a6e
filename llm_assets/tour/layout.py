"""Plain text in at most 100 columns; East Asian characters are two columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

COLUMNS = 100
LABEL = 16  # columns of a label in front of a text
_PRINTABLE_SPACE = {"\n": "⏎", "\t": "⇥", "\r": "␍"}


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(text: str, first: str = "", rest: str | None = None) -> list[str]:
    """Lines of a text, each at most COLUMNS wide; its own line breaks are kept.

    first: what precedes the first line; the others are preceded by `rest`, or by as many spaces.
    """
    rest = " " * width(first) if rest is None else rest
    lines: list[str] = []
    for paragraph in text.split("\n") or [""]:
        for piece in _pieces(paragraph, COLUMNS - width(rest)):
            lines.append(f"{rest if lines else first}{piece}".rstrip())
    return lines


def _pieces(paragraph: str, room: int) -> Iterator[str]:
    """A paragraph in pieces of at most `room` columns, broken between words where possible."""
    line = ""
    for word in paragraph.split(" "):
        candidate = f"{line} {word}" if line else word
        if width(candidate) <= room:
            line = candidate
            continue
        if line:
            yield line
        while width(word) > room:
            end = _fitting(word, room)
            yield word[:end]
            word = word[end:]
        line = word
    yield line


def _fitting(word: str, room: int) -> int:
    """How many characters of a word fit into `room` columns; at least one."""
    taken, count = 0, 0
    for character in word:
        taken += width(character)
        if taken > room:
            break
        count += 1
    return max(count, 1)


def labelled(label: str, text: str) -> list[str]:
    """A text with a label in the left column."""
    return wrapped(text, f"  {label:<{LABEL}}"[: LABEL + 2])


def rows(table: Iterable[Sequence[str]]) -> list[str]:
    """A table whose cells are padded to the width of their column; none is wrapped."""
    cells = [[str(cell) for cell in row] for row in table]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(cell + " " * (most - width(cell)) for cell, most in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def visible(text: str) -> str:
    """The text with signs for line breaks and tabs, so that it stays on one line."""
    return "".join(_PRINTABLE_SPACE.get(character, character) for character in text)


def shortened(text: str, characters: int) -> str:
    """At most so many characters of a text, and an ellipsis if something is left out."""
    return text if len(text) <= characters else f"{text[:characters].rstrip()} …"
