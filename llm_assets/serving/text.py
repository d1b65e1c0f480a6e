"""Sampled tokens as text that grows, up to the first text that ends it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from llm_assets.model.encoding import Encoding


class GrowingText:
    """The text of tokens that come one by one, in whole characters.

    stops: texts that end it and are no part of it. What may yet become one of them is held back.
    """

    def __init__(self, encoding: Encoding, stops: Sequence[str] = ()):
        self.encoding, self.stops = encoding, stops
        self.is_stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def push(self, token: int, without_space: bool = False) -> str:
        """What a token adds to the text. without_space: leave out the space that a turn's text begins with."""
        text = self._decoder.decode(self.encoding.decode_bytes([token]))
        return self._release(text.removeprefix(" ") if without_space else text)

    def finish(self) -> str:
        """The rest of the text, once no token follows."""
        if self.is_stopped:
            return ""
        rest = self._release(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return rest if self.is_stopped else rest + held

    def _release(self, added: str) -> str:
        """The text up to what may be the beginning of a stop; nothing after a stop."""
        if self.is_stopped:
            return ""
        text = self._held + added
        ends = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if ends:
            self.is_stopped, self._held = True, ""
            return text[: min(ends)]
        longest = max((held_length(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - longest :]
        return text[: len(text) - longest]


def held_length(text: str, stop: str) -> int:
    """Length of the longest end of a text that a stop begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0)
