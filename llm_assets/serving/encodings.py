"""Tokenizers without their models: those of checkpoints, and the published ones whose ranks are on this machine."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llm_assets.model.encoding import PUBLISHED, Encoding, TokenizerError, published, published_here
from llm_assets.model.shape import ModelError, ModelShape

from .errors import unreadable

MOST_ENCODINGS = 8  # of checkpoints, in memory; one with 200,000 tokens takes about 60 MB


class ReadsText(Protocol):
    """What decides how a text becomes tokens, and how many of them fit: a loaded model, or its `TextReader`."""

    @property
    def encoding(self) -> Encoding: ...

    @property
    def shape(self) -> ModelShape: ...


@dataclass(frozen=True)
class TextReader:
    """The tokenizer and the shape of a checkpoint. version: of the file that the ranks were read from."""

    encoding: Encoding
    shape: ModelShape
    version: int


class Encodings:
    """Tokenizers in memory. Safe to call from several threads.

    ranks: files of published encodings by name; of others, tiktoken's cache is searched. Nothing is downloaded.
    """

    def __init__(self, ranks: Mapping[str, Path] | None = None):
        self._ranks = dict(ranks or {})
        self._readers: OrderedDict[Path, TextReader] = OrderedDict()
        self._published: dict[str, Encoding] | None = None
        self._lock = threading.Lock()

    def of(self, folder: Path) -> TextReader:
        """The tokenizer of a checkpoint folder. Raises ApiError (404)."""
        with self._lock:
            try:
                version = (folder / "tokenizer.tiktoken").stat().st_mtime_ns
                reader = self._readers.get(folder)
                if reader is None or reader.version != version:
                    shape = ModelShape.load((folder / "shape.json").read_text(), "shape.json")
                    reader = TextReader(Encoding.load(folder), shape, version)
            except (OSError, ModelError, TokenizerError) as error:
                raise unreadable("the checkpoint's tokenizer", error) from error
            self._readers[folder] = reader
            self._readers.move_to_end(folder)
            if len(self._readers) > MOST_ENCODINGS:
                self._readers.popitem(last=False)
            return reader

    def published(self) -> dict[str, Encoding]:
        """The published encodings that are on this machine, by name. A file that is another one is left out."""
        with self._lock:
            if self._published is None:
                available = {name: self._read(name) for name in PUBLISHED}
                self._published = {name: encoding for name, encoding in available.items() if encoding is not None}
            return self._published

    def _read(self, name: str) -> Encoding | None:
        try:
            return published(name, self._ranks[name]) if name in self._ranks else published_here(name)
        except TokenizerError:
            return None
