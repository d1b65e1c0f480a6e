"""Overwrites records of WARC and ARC files in place.

A record is replaced by an empty ``metadata`` record of exactly its length (in an ARC file, by one with blank content),
so that the offsets of all other records stay the same and every reader can still read the file.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from llm_assets.artifacts.record import fsync_path
from llm_assets.warc import GZIP_MAGIC, RecordSpan, copy_inflated, is_arc, read_spans

from .errors import SourceError

_HEAD_BYTES = 1 << 16
_COPY_BYTES = 1 << 20


def blank_records(path: Path, covers: Callable[[str], bool]) -> int:
    """Overwrite every record of a WARC or ARC file whose target URI is covered; returns how many there were.

    These are requests, responses, revisits and all others with that URI. The file is replaced by a rename, or stays
    unchanged. Raises SourceError for a record that is too short to be overwritten.
    """
    spans = list(read_spans(path))
    covered = [span for span in spans if span.url and covers(span.url)]
    if not covered:
        return 0
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(path, "rb") as stream:
            compressed = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        arc = is_arc(path)
        if compressed and _is_one_member(path, spans):
            with open(temporary, "wb") as out:
                copy_inflated(path, out)
            _overwrite(temporary, covered, False, arc)
            _compress(temporary, temporary.with_name(f".{path.name}.gz.{os.getpid()}.tmp"))
        else:
            shutil.copyfile(path, temporary)
            _overwrite(temporary, covered, compressed, arc)
        fsync_path(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)
    return len(covered)


def _compress(path: Path, temporary: Path) -> None:
    """Replace a file by its gzip form of one member."""
    with (
        open(path, "rb") as plain,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as out,
    ):
        shutil.copyfileobj(plain, out, _COPY_BYTES)
    os.replace(temporary, path)


def _is_one_member(path: Path, spans: Iterable[RecordSpan]) -> bool:
    """Whether a gzip file is one member over all its records, whose offsets then count decompressed bytes."""
    with open(path, "rb") as stream:
        for span in spans:
            stream.seek(span.offset)
            if stream.read(3) != GZIP_MAGIC:
                return True
    return False


def _overwrite(path: Path, spans: Iterable[RecordSpan], compressed: bool, arc: bool) -> None:
    """Overwrite records in place. compressed: each is a gzip member. arc: the file is an ARC file."""
    with open(path, "r+b") as stream:
        for span in spans:
            stream.seek(span.offset)
            head = stream.read(min(span.length, _HEAD_BYTES))
            stream.seek(span.offset)
            stream.write(_arc_filler(head, span, compressed) if arc else _warc_filler(span, compressed))


def _warc_filler(span: RecordSpan, compressed: bool) -> bytes:
    """An empty WARC record of exactly the span's length."""
    lines = ["WARC/1.1", "WARC-Type: metadata"]
    lines += [f"WARC-Record-ID: {span.record_id}"] if span.record_id else []
    lines += [f"WARC-Date: {span.date}"] if span.date else []
    head = "\r\n".join([*lines, "Content-Length: "]).encode()
    if compressed:
        return _member(head + b"0\r\n\r\n\r\n\r\n", span)
    for digits in range(1, 20):
        content = span.length - len(head) - digits - 8
        if content >= 0 and len(str(content)) == digits:
            return head + f"{content}\r\n\r\n".encode() + b" " * content + b"\r\n\r\n"
    # The span is too short for a header, or no number of digits gives its length: use blank bytes between two records.
    return b"\r\n" * (span.length // 2) + b"\n" * (span.length % 2)


def _arc_filler(head: bytes, span: RecordSpan, compressed: bool) -> bytes:
    """The ARC record with its header line (URL, address, date, type, length), and spaces instead of its content."""
    plain = zlib.decompressobj(31).decompress(head, _HEAD_BYTES) if compressed else head
    line, _, _ = plain.partition(b"\n")
    if not compressed:
        return line + b"\n" + b" " * (span.length - len(line) - 2) + b"\n"
    size = int(line.split()[-1])
    return _member(line + b"\n" + b" " * size + b"\n", span)


def _member(plain: bytes, span: RecordSpan) -> bytes:
    """One gzip member of exactly the span's length (RFC 1952); a file name in its header fills the remaining bytes."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(plain) + deflate.flush()
    spare = span.length - len(body) - 18
    if spare < 0 and span.record_type == "corrupt":
        return bytes(span.length)  # too short for a record, and it was not a readable one before
    if spare < 0:
        raise SourceError(f"the record at {span.offset:,} is too short to be taken down in place ({span.length} bytes)")
    name = b" " * (spare - 1) + b"\0" if spare else b""
    flags = b"\x08" if spare else b"\0"
    return b"\x1f\x8b\x08" + flags + b"\0\0\0\0\0\xff" + name + body + struct.pack("<II", zlib.crc32(plain), len(plain))
