"""The trace index at query time: segments of pages and of conversations, and where in them each document begins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_assets.artifacts.tables import read_table
from llm_assets.model.encoding import Encoding

from .suffix_array import SUFFIXES, Segment, SegmentError

PAGES, CONVERSATIONS = "pages", "conversations"  # the kinds of segments, and what their names begin with
TABLES = {PAGES: "documents", CONVERSATIONS: "conversations"}
# Whose words follow a special token of the chat protocol.
SPEAKERS = {
    "<|system_start|>": "system",
    "<|user_start|>": "user",
    "<|assistant_start|>": "assistant",
    "<|tool_end|>": "assistant",
    "<|search_start|>": "search query",
    "<|python_start|>": "program",
    "<|result_start|>": "tool",
}


class TraceError(ValueError):
    """An index or an answer that cannot be traced; the message says what is wrong with it."""


@dataclass(frozen=True)
class PagePlace:
    """Where a span occurs in the training shards. position: of its first token in the document, whose BOS is 0."""

    url: str
    doc_id: str
    crawl: str
    warc_file: str
    warc_offset: int
    position: int


@dataclass(frozen=True)
class ConversationPlace:
    """Where a span occurs in the conversations. speaker: whose words they are (a value of SPEAKERS).

    conversation, sources: its number and the JSON list of its sources, as in the table of conversations. position: of
    the span's first token in the rendered conversation.
    """

    conversation: int
    source: str
    sources: str
    speaker: str
    position: int


class TraceIndex:
    """An artifact of `trace_index`, by its folder. Raises TraceError if a file is missing or broken."""

    def __init__(self, folder: Path):
        self.folder = folder
        if not (folder / "encoding.json").is_file():
            raise TraceError(f"{folder} is not a trace index: it has no encoding.json; build trace_index")
        self.encoding = Encoding.load(folder)
        names = sorted(path.name.removesuffix(SUFFIXES) for path in folder.glob(f"*{SUFFIXES}"))
        tokens = sorted(path.name.removesuffix("-tokens.npy") for path in folder.glob("*-tokens.npy"))
        if names != tokens:
            raise TraceError(f"{folder}: segments without tokens or suffixes: {set(names) ^ set(tokens)}; rebuild it")
        try:
            self.segments = {
                kind: [Segment(folder, name) for name in names if name.startswith(kind)]
                for kind in (PAGES, CONVERSATIONS)
            }
        except SegmentError as error:
            raise TraceError(str(error)) from error

    @property
    def tokens(self) -> int:
        """Number of tokens in all segments."""
        return sum(len(segment) for segments in self.segments.values() for segment in segments)

    @cached_property
    def _speakers(self) -> dict[int, str]:
        return {self.encoding.special[name]: speaker for name, speaker in SPEAKERS.items()}

    @cached_property
    def _starts(self) -> dict[str, tuple[np.ndarray, pl.DataFrame]]:
        """The places of the documents of each segment, and their rows, by the segment's name."""
        starts: dict[str, tuple[np.ndarray, pl.DataFrame]] = {}
        for kind, table in TABLES.items():
            paths = sorted((self.folder / table).glob("*.parquet"))
            if not paths:
                raise TraceError(f"{self.folder / table}: no table of {kind}; rebuild trace_index")
            for (name,), rows in read_table(paths).group_by("segment", maintain_order=True):
                starts[str(name)] = (rows["start"].to_numpy(), rows)
        return starts

    def row(self, segment: Segment, position: int) -> dict[str, Any]:
        """The row of the document that a token of a segment belongs to."""
        starts, rows = self._starts[segment.name]
        return rows.row(int(np.searchsorted(starts, position, "right")) - 1, named=True)

    def page_place(self, segment: Segment, position: int) -> PagePlace:
        row = self.row(segment, position)
        names = ("url", "doc_id", "crawl", "warc_file", "warc_offset")
        return PagePlace(**{name: row[name] for name in names}, position=position - row["start"])

    def conversation_place(self, segment: Segment, position: int) -> ConversationPlace:
        row = self.row(segment, position)
        before = segment.tokens[row["start"] : position].tolist()
        speaker = next((self._speakers[token] for token in reversed(before) if token in self._speakers), "")
        names = ("conversation", "source", "sources")
        return ConversationPlace(
            **{name: row[name] for name in names}, speaker=speaker, position=position - row["start"]
        )
