"""Reads the records of WARC files: of well-formed files through fastwarc, of all others with a tolerant reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from fastwarc.warc import ArchiveIterator

from .compression import RECORD_START
from .http_head import BLANK_LINE, parse_headers
from .members import Damage, MemberStream

_MAX_HEADER_BYTES = 1 << 20
_SKIPPED_BYTES = 1 << 20
_VERSION_BYTES = 16


class BlockReader:
    """The block of one record."""

    def __init__(self, stream: MemberStream, length: int):
        self._stream, self._left = stream, length

    def read(self, size: int) -> bytes:
        """At most `size` bytes, and fewer only where the block or the file ends."""
        pieces, wanted = [], min(size, self._left)
        while wanted and (piece := self._stream.read(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
            self._left -= len(piece)
        return b"".join(pieces)


@dataclass(frozen=True)
class Record:
    """One record. offset: in the file. headers: with a case-insensitive `get`. reader: of its block.

    shares_member: whether its compressed member holds other records as well, so that the offset does not locate it.
    """

    offset: int
    headers: Any
    reader: Any
    shares_member: bool = False

    def header(self, name: str) -> str:
        """A header without surrounding space; empty if it is missing. name: in lower case."""
        return (self.headers.get(name) or "").strip()

    @property
    def length(self) -> int | None:
        """Content-Length; None if it is missing or no number."""
        text = self.header("content-length")
        return int(text) if text.isascii() and text.isdigit() else None


def strict_records(file: BinaryIO) -> Iterator[Record | None]:
    """The records that fastwarc reads; None, and no more, before one that it would misread.

    It compares the names WARC-Type and Content-Length exactly, although names are case-insensitive (ISO 28500, section
    4), and expects every line of a header to end in CRLF. It also stops at an empty gzip member. Raises OSError for
    damage.
    """
    for record in ArchiveIterator(file, parse_http=False):
        headers = record.headers
        length = headers.get("Content-Length")
        is_read = length is not None and length.strip() == str(record.content_length)
        joins_lines = any("\n" in value for _, value in headers.items())
        if not is_read or joins_lines or headers.get("WARC-Type") is None:
            yield None
            return
        yield Record(record.stream_pos, headers, record.reader)


def tolerant_records(stream: MemberStream) -> Iterator[Record]:
    """The records from the stream's position on.

    Raises OSError for damage: as Damage with its offset, if the record before it is whole for certain.
    """
    ends_well = True  # whether the block of the last record is as long as its header says
    while stream.skip_filler():
        offset, is_locatable = stream.offset, stream.is_locatable
        if RECORD_START.match(stream.peek(_VERSION_BYTES)) is None:
            damage = offset if ends_well and is_locatable else None
            raise Damage("what follows a record is not another one", damage)
        header = stream.read_until(BLANK_LINE, _MAX_HEADER_BYTES)
        if header is None:
            raise Damage("the file ends inside a record" if stream.at_end else "a record header without an end", offset)
        headers = parse_headers(header.partition(b"\n")[2])
        record = Record(offset, headers, None, not is_locatable)
        block = BlockReader(stream, record.length or 0)
        yield replace(record, reader=block)
        while block.read(_SKIPPED_BYTES):
            pass
        ends_well = stream.peek(1) in (b"\r", b"\n")
