"""Looking for text in files of every kind a store has: tables, databases, token files, archives, pages, logs."""

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

# A run of 2 × CHARACTERS - 1 characters of a text holds one of its pieces whole.
CHARACTERS = 32
LEAST_CHARACTERS = 20  # of a shorter line (a title): below, other pages say the same
MOST_PIECES = 20_000  # spread over all texts: the search takes a page's text to be gone where this sample of it is
_BUFFER = 32 << 20
_CHUNK = 4 << 20


def text_pieces(texts: Iterable[str]) -> list[str]:
    """Pieces of texts that a search can find: each line in runs of CHARACTERS characters, evenly thinned out to MOST_PIECES."""
    found: dict[str, None] = {}
    for text in texts:
        for line in text.splitlines():
            line = line.strip()
            if LEAST_CHARACTERS <= len(line) < CHARACTERS:
                found[line] = None
            for start in range(0, len(line) - CHARACTERS + 1, CHARACTERS):
                found[line[start : start + CHARACTERS]] = None
    pieces = list(found)
    step = -(-len(pieces) // MOST_PIECES) or 1
    return pieces[::step]


def pieces_found_nowhere_else(pieces: list[str], other_texts: Iterable[pl.Series]) -> list[str]:
    """Those of the pieces that no other text holds (a menu, a quotation)."""
    left = pieces
    for texts in other_texts:
        if left:
            shared = texts.str.extract_many(left, overlapping=True).explode().drop_nulls().unique().to_list()
            left = [piece for piece in left if piece not in set(shared)]
    return left


def files_containing(
    pieces: list[str], files: Iterable[Path], decoders: Callable[[Path], Callable[[], Iterator[bytes]] | None]
) -> list[Path]:
    """Files in which a piece stands, as it is or once decoded.

    decoders: gives a function that yields a file's content as text, for files that only their writer can read (tokens).
    Files that vanish meanwhile are passed over.
    """
    if not pieces:
        return []
    wanted = _wanted(pieces)
    holding: list[Path] = []
    names: list[Path] = []
    contents: list[str] = []
    held = 0

    def look() -> None:
        nonlocal held
        if contents:
            hits = pl.Series(contents, dtype=pl.String).str.contains_any(wanted)
            holding.extend(name for name, hit in zip(names, hits, strict=True) if hit)
        names.clear()
        contents.clear()
        held = 0

    for path in files:
        for content in _contents(path, decoders(path)):
            names.append(path)
            contents.append(content.decode("latin-1"))  # a character for each byte
            held += len(content)
            if held > _BUFFER:
                look()
    look()
    return list(dict.fromkeys(holding))


def lines_not_containing(pieces: list[str], lines: list[bytes]) -> list[bytes]:
    """The lines in which no piece stands."""
    if not pieces or not lines:
        return lines
    hits = pl.Series([line.decode("latin-1") for line in lines]).str.contains_any(_wanted(pieces))
    return [line for line, hit in zip(lines, hits, strict=True) if not hit]


def _wanted(pieces: list[str]) -> list[str]:
    """The bytes to look for, a character for each."""
    variants = dict.fromkeys(variant for piece in pieces for variant in sorted(_variants(piece)))
    return [variant.encode("utf-8", "replace").decode("latin-1") for variant in variants]


def _variants(piece: str) -> set[str]:
    """A piece as it stands in plain text, in JSON (one way or another) and in HTML."""
    return {piece, json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1], html.escape(piece)}


def _contents(path: Path, decode: Callable[[], Iterator[bytes]] | None) -> Iterator[bytes]:
    """A file's bytes in overlapping chunks, and, where it is packed in a known way, what it holds."""
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
        while chunk := stream.read(_CHUNK):
            yield chunk


def _overlapping(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks, each with the end of the one before it, so that a piece on the boundary is found."""
    tail = b""
    for chunk in chunks:
        yield tail + chunk
        tail = (tail + chunk)[-4 * CHARACTERS :]


def _inflated(path: Path) -> Iterator[bytes]:
    """All members of a gzip file; one that is damaged is read as far as it goes."""
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
    """Every text of every column, nested ones too."""
    try:
        file = pq.ParquetFile(path)
        batches = file.iter_batches(4096)
        for batch in batches:
            for column in batch.columns:
                for values in _text_arrays(column):
                    yield "\n".join(value for value in values.to_pylist() if value).encode("utf-8", "replace")
    except (pa.ArrowException, OSError):
        return  # half-written; its bytes were looked at


def _text_arrays(array: pa.Array) -> Iterator[pa.Array]:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        yield array
    elif pa.types.is_dictionary(kind):
        yield from _text_arrays(array.dictionary)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _text_arrays(array.flatten())
    elif pa.types.is_struct(kind):
        for field in array.flatten():
            yield from _text_arrays(field)


def _database(path: Path) -> Iterator[bytes]:
    """Every text of every table of an SQLite file: a long one is not in one piece in the file's bytes."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base,
    ):
        base.text_factory = bytes
        tables = [row[0].decode() for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            with contextlib.suppress(sqlite3.Error):
                rows = base.execute(f'SELECT * FROM "{table}"')
                while some := rows.fetchmany(1000):
                    yield b"\n".join(value for row in some for value in row if isinstance(value, bytes))
