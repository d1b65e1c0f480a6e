"""Which files of a data folder contain given texts: a search of raw and decoded bytes, independent of the project's."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.model.encoding import Encoding


def tokenizers(folder: Path) -> list[Encoding]:
    """Every tokenizer below a folder."""
    return [Encoding.load(path.parent) for path in sorted(folder.rglob("tokenizer.tiktoken"))]


def places(folder: Path, texts: Iterable[str], encodings: Iterable[Encoding] = ()) -> dict[str, set[str]]:
    """Files below `folder` that contain one of the texts, by the kind of decoding that shows it."""
    wanted = [text.encode() for text in texts]
    files_by_kind: dict[str, set[str]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with contextlib.suppress(FileNotFoundError):  # such as a database's shared memory, deleted meanwhile
            for kind, content in readings(path, list(encodings)):
                if any(text in content for text in wanted):
                    files_by_kind.setdefault(kind, set()).add(str(path.relative_to(folder)))
    return files_by_kind


def readings(path: Path, encodings: list[Encoding]):
    """(kind, bytes) of a file: as it is, and decoded by each format that it may have."""
    raw = path.read_bytes()
    yield "bytes", raw
    if raw.startswith(b"\x1f\x8b"):
        try:
            yield "gzip", gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            yield "gzip", b"".join(members(raw))
    if raw.startswith(b"PAR1"):
        for column in pl.read_parquet(path).iter_columns():
            yield "parquet", "\n".join(texts_in(column.to_list())).encode()
    if raw.startswith(b"SQLite format 3"):
        yield "sqlite", database(path)
    if path.suffix == ".npy" and not path.name.endswith("-lengths.npy"):
        for encoding in encodings:
            with contextlib.suppress(KeyError, pl.exceptions.PanicException, ValueError):
                tokens = np.load(path)
                if len(tokens) and tokens.max() < encoding.size:
                    yield "tokens", encoding.decode_bytes(tokens.tolist())


def texts_in(values: Iterable[object]):
    """Every string in nested values."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from texts_in(value.values())
        elif isinstance(value, list):
            yield from texts_in(value)


def members(raw: bytes):
    """Everything that can be inflated of a damaged gzip file."""
    position = 0
    while (position := raw.find(b"\x1f\x8b\x08", position)) >= 0:
        inflate = zlib.decompressobj(31)
        with contextlib.suppress(zlib.error):
            yield inflate.decompress(raw[position:])
        position += 1


def database(path: Path) -> bytes:
    """The texts of all tables."""
    pieces = []
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.text_factory = bytes
        for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            with contextlib.suppress(sqlite3.Error):
                for row in base.execute(f'SELECT * FROM "{name.decode()}"'):
                    pieces += [value for value in row if isinstance(value, bytes)]
    return b"\n".join(pieces)
