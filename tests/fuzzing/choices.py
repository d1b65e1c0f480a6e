"""Turns the bytes of a fuzzer into choices, texts and JSON values, so that structured inputs are mutated as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
TEXT_END = 0xFF  # never part of UTF-8, so that a text may hold any character
NAMES = ("query", "code", "role", "content", "text", "type")


class Choices:
    """Reads bytes from front to back; where they are used up, every choice is the first and every text is empty."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._data)

    def number(self, count: int) -> int:
        """A number from 0 to below `count`, at most 256."""
        if self.is_empty:
            return 0
        self._at += 1
        return self._data[self._at - 1] % count

    def among(self, items: Sequence[Item]) -> Item:
        return items[self.number(len(items))]

    def text(self) -> str:
        """The characters up to the next end of a text."""
        end = self._data.find(bytes([TEXT_END]), self._at)
        end = len(self._data) if end < 0 else end
        piece = self._data[self._at : end]
        self._at = end + 1
        return piece.decode("utf-8", "replace")

    def value(self, depth: int = 3) -> Any:
        """A JSON value: null, a number, a text, and as long as `depth` is positive a list or an object."""
        kind = self.number(8)
        if depth <= 0 or kind < 5:
            return (self.text(), None, 5, True, "")[kind % 5] if kind else self.text()
        items = [self.value(depth - 1) for _ in range(self.number(4))]
        return items if kind == 5 else {self.among(NAMES): item for item in items}


def text_bytes(text: str) -> bytes:
    """The bytes from which `Choices.text` reads a text."""
    return text.encode() + bytes([TEXT_END])
