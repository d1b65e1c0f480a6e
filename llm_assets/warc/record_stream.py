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
_LENGTH_DIGITS = 18  # of a Content-Length that a file can have


class BlockReader:
    """The block of one record. left: how many of its bytes have not been read."""

    def __init__(self, stream: MemberStream, length: int):
        self._stream, self.left = stream, length

    def read(self, size: int) -> bytes:
        """At most `size` bytes, and fewer only where the block or the file ends.

        Raises Damage where the block would reach into a compressed member that begins with a record of its own.
        """
        pieces, wanted, member = [], min(size, self.left), self._stream.offset
        while wanted and (piece := self._stream.read(wanted)):
            if not self._stream.counts_plain and self._stream.offset != member:
                if RECORD_START.match(piece[:_VERSION_BYTES] + self._stream.peek(_VERSION_BYTES)):
                    raise Damage("a record longer than its compressed member")
                member = self._stream.offset
            pieces.append(piece)
            wanted -= len(piece)
            self.left -= len(piece)
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
        """Content-Length; None if it is missing or no number of bytes."""
        text = self.header("content-length")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _LENGTH_DIGITS else None


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
            problem = "the file ends inside a record" if stream.at_end else "a record header without an end"
            raise Damage(problem, offset if is_locatable else None)
        headers = parse_headers(header.partition(b"\n")[2])
        record = Record(offset, headers, None, not is_locatable)
        if stream.bytes_left is not None and (record.length or 0) > stream.bytes_left:
            raise Damage(f"a record cut short: {stream.bytes_left} of {record.length} bytes", offset)
        block = BlockReader(stream, record.length or 0)
        yield replace(record, reader=block)
        while block.read(_SKIPPED_BYTES):
            pass
        if block.left:
            raise Damage(f"a record cut short: {block.left} of {record.length} bytes are missing")
        ends_well = stream.peek(1) in (b"\r", b"\n")
