"""Searching for text in every kind of file of a store: tables, databases, token files, archives, pages, logs."""

from __future__ import annotations

import contextlib
import html
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

# Length of a piece. Any 2 × CHARACTERS - 1 successive characters of a line contain a whole piece.
CHARACTERS = 32
LEAST_CHARACTERS = 20  # of a shorter line (a title); other pages have the same lines below this length
MOST_PIECES = 20_000  # over all texts; if this sample is gone from the store, the texts are taken to be gone
_BUFFER_BYTES = 32 << 20
_CHUNK_BYTES = 4 << 20


def text_pieces(texts: Iterable[str]) -> list[str]:
    """Pieces of texts to search for: runs of CHARACTERS characters of each line, thinned out evenly to MOST_PIECES."""
    pieces: dict[str, None] = {}
    for text in texts:
        for line in text.splitlines():
            line = line.strip()
            if LEAST_CHARACTERS <= len(line) < CHARACTERS:
                pieces[line] = None
            for start in range(0, len(line) - CHARACTERS + 1, CHARACTERS):
                pieces[line[start : start + CHARACTERS]] = None
    step = -(-len(pieces) // MOST_PIECES) or 1
    return list(pieces)[::step]


def pieces_found_nowhere_else(pieces: list[str], other_texts: Iterable[pl.Series]) -> list[str]:
    """The pieces that no other text contains, as it would a menu or a quotation."""
    unshared = pieces
    for texts in other_texts:
        if unshared:
            shared = set(texts.str.extract_many(unshared, overlapping=True).explode().drop_nulls().unique().to_list())
            unshared = [piece for piece in unshared if piece not in shared]
    return unshared


def files_containing(
    pieces: list[str], files: Iterable[Path], decoders: Callable[[Path], Callable[[], Iterator[bytes]] | None]
) -> list[Path]:
    """The files that contain a piece, as plain text or after decoding.

    decoders: returns, for a file that only its writer can read (tokens), a function that yields the file's text; None
    for any other file. Files that disappear during the search are skipped.
    """
    if not pieces:
        return []
    patterns = _patterns(pieces)
    matches: list[Path] = []
    buffer: list[tuple[Path, str]] = []
    buffered_bytes = 0

    def search_buffer() -> None:
        nonlocal buffered_bytes
        if buffer:
            contents = pl.Series([content for _, content in buffer], dtype=pl.String)
            hits = contents.str.contains_any(patterns)
            matches.extend(path for (path, _), hit in zip(buffer, hits, strict=True) if hit)
        buffer.clear()
        buffered_bytes = 0

    for path in files:
        for content in _contents(path, decoders(path)):
            buffer.append((path, content.decode("latin-1")))  # one character per byte
            buffered_bytes += len(content)
            if buffered_bytes > _BUFFER_BYTES:
                search_buffer()
    search_buffer()
    return list(dict.fromkeys(matches))


def lines_not_containing(pieces: list[str], lines: list[bytes]) -> list[bytes]:
    """The lines that contain no piece."""
    if not pieces or not lines:
        return lines
    hits = pl.Series([line.decode("latin-1") for line in lines]).str.contains_any(_patterns(pieces))
    return [line for line, hit in zip(lines, hits, strict=True) if not hit]


def _patterns(pieces: list[str]) -> list[str]:
    """The byte sequences to search for, with one character per byte."""
    variants = dict.fromkeys(variant for piece in pieces for variant in sorted(_variants(piece)))
    return [variant.encode("utf-8", "replace").decode("latin-1") for variant in variants]


def _variants(piece: str) -> set[str]:
    """A piece as plain text, as JSON with and without escaped characters, and as HTML."""
    return {piece, json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1], html.escape(piece)}


def _contents(path: Path, decode: Callable[[], Iterator[bytes]] | None) -> Iterator[bytes]:
    """A file's bytes in overlapping chunks and, for a known format, the unpacked text."""
    with contextlib.suppress(FileNotFoundError):
        with open(path, "rb") as stream:
            head = stream.read(16)
        yield from _overlapping(_chunks(path))
        if head.startswith(b"\x1f\x8b"):
            yield from _overlapping(_inflated(path))
        elif head.startswith(b"PAR1"):
            yield from _parquet(path)
        elif head.startswith(b"SQLite format 3"):
            yield from _database(path)
        if decode is not None:
            yield from _overlapping(decode())


def _chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _overlapping(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, each preceded by the end of the one before, so that a piece across a boundary is found."""
    tail = b""
    for chunk in chunks:
        yield tail + chunk
        tail = (tail + chunk)[-4 * CHARACTERS :]


def _inflated(path: Path) -> Iterator[bytes]:
    """The content of all members of a gzip file, up to the first damage."""
    with open(path, "rb") as stream:
        inflate = zlib.decompressobj(31)
        while chunk := stream.read(1 << 16):
            while chunk:
                try:
                    yield inflate.decompress(chunk)
                except zlib.error:
                    return
                chunk = inflate.unused_data
                if inflate.eof:
                    inflate = zlib.decompressobj(31)


def _parquet(path: Path) -> Iterator[bytes]:
    """The texts of every column, also of nested ones."""
    try:
        for batch in pq.ParquetFile(path).iter_batches(4096):
            for column in batch.columns:
                for values in _text_arrays(column):
                    yield "\n".join(value for value in values.to_pylist() if value).encode("utf-8", "replace")
    except (pa.ArrowException, OSError):
        return  # half-written; its raw bytes have been searched already


def _text_arrays(array: pa.Array) -> Iterator[pa.Array]:
    dtype = array.type
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        yield array
    elif pa.types.is_dictionary(dtype):
        yield from _text_arrays(array.dictionary)
    elif pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        yield from _text_arrays(array.flatten())
    elif pa.types.is_struct(dtype):
        for field in array.flatten():
            yield from _text_arrays(field)


def _database(path: Path) -> Iterator[bytes]:
    """The texts of every table of an SQLite file, whose bytes hold a long text in several places."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        connection.text_factory = bytes
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            with contextlib.suppress(sqlite3.Error):
                cursor = connection.execute(f'SELECT * FROM "{table.decode()}"')
                while rows := cursor.fetchmany(1000):
                    yield b"\n".join(value for row in rows for value in row if isinstance(value, bytes))
