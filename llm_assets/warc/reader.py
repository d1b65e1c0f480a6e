"""Reads the captures of WARC files, and continues after damage."""

from __future__ import annotations

import hashlib
import mmap
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecordType

from .arc import begins_like_arc, read_arc
from .gzip_members import GZIP_MAGIC, PROBE_BYTES, InflatedStream, gzip_inflater, probe
from .http_head import parse_http
from .records import Capture, WarcError, corrupt_stretch, digest_name

RECORD_START = re.compile(rb"WARC/[01]\.\d+\r?\n")
_CHUNK_BYTES = 1 << 20
_TYPES = {
    int(WarcRecordType.response): "response",
    int(WarcRecordType.revisit): "revisit",
    int(WarcRecordType.resource): "resource",
}


def read_captures(path: Path, wanted: set[int] | None = None, max_payload: int | None = None) -> Iterator[Capture]:
    """Every capture of a file, in file order, corrupt stretches included.

    wanted: yield only the records at these offsets, with their payload (as stored; None if it is longer than
    `max_payload` bytes) and without a digest. Raises WarcError only for a path that cannot be read.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            head = stream.read(PROBE_BYTES)
    except OSError as error:
        raise WarcError(f"{path}: {error.strerror}") from error
    if size == 0:
        return
    if begins_like_arc(probe(head)):
        yield from read_arc(path, wanted, max_payload)
        return
    reader = RecordReader(path, size, wanted, max_payload)
    yield from reader.captures(compressed=head.startswith(GZIP_MAGIC))


def read_capture_at(path: Path, offset: int) -> Capture | None:
    """The capture at `offset`, with its payload, of an uncompressed file or one with a gzip member per record."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        for record in ArchiveIterator(stream, parse_http=False):
            return RecordReader(path, 0, {record.stream_pos}, None).read_record(record, record.stream_pos)
    return None


def target_uri(headers: Any) -> str:
    return (headers.get("WARC-Target-URI") or "").strip().strip("<>")


@dataclass
class _Scan:
    """How far a file has been read.

    A file is read in passes; each ends at damage or at the end of the file, and the next begins at the record after it.
    position: where the pass began. record_start: of the record being read. pending: the last whole record, whose end is
    not known yet. failure: why the pass ended. damage_start, damage_problem: a stretch that could not be read, of which
    the end is not known yet.
    """

    position: int = 0
    record_start: int | None = None
    pending: Capture | None = None
    failure: str | None = None
    is_one_member: bool = False
    damage_start: int | None = None
    damage_problem: str = ""

    def begin_pass(self, position: int) -> None:
        self.position, self.record_start, self.pending, self.failure = position, None, None, None

    def end_pending(self, end: int) -> Iterator[Capture]:
        """Yield the pending record, which ends at `end`."""
        if self.pending is not None:
            self.pending.length = end - self.pending.offset
            yield self.pending

    def end_damage(self, end: int) -> Iterator[Capture]:
        """Yield the corrupt stretch, which ends at `end`."""
        if self.damage_start is not None:
            yield corrupt_stretch(self.damage_start, end - self.damage_start, self.damage_problem)
            self.damage_start = None

    def begin_damage(self, start: int, problem: str) -> None:
        """Note where damage begins, unless an earlier pass noted it."""
        if self.damage_start is None:
            self.damage_start, self.damage_problem = start, problem


class RecordReader:
    """Reads one WARC file. wanted, max_payload: see `read_captures`."""

    def __init__(self, path: Path, size: int, wanted: set[int] | None, max_payload: int | None):
        self.path, self.size, self.wanted, self.max_payload = path, size, wanted, max_payload
        self._inside_record = False  # whether an error arose inside a record, not between two

    def captures(self, compressed: bool) -> Iterator[Capture]:
        """Every capture and corrupt stretch, in file order."""
        with open(self.path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if not compressed and not RECORD_START.match(data[:PROBE_BYTES]):
                # The first bytes may be damaged; then gzip members follow later in the file.
                compressed = self._next_record(data, 0, compressed=True) < self.size
            scan = _Scan()
            while scan.position < self.size:
                stream.seek(scan.position)
                yield from self._read_pass(stream, data, compressed, scan)
                if scan.is_one_member:
                    yield from self._read_one_member()
                    return
                if scan.failure is None:
                    yield from self._end_of_file(data, compressed, scan)
                    break
                yield from self._skip_damage(data, compressed, scan)
            yield from scan.end_damage(self.size)

    def _read_pass(self, stream: BinaryIO, data: mmap.mmap, compressed: bool, scan: _Scan) -> Iterator[Capture]:
        """Read records up to damage or the end of the file."""
        try:
            for record in ArchiveIterator(stream, parse_http=False):
                start = record.stream_pos
                if compressed and data[start : start + len(GZIP_MAGIC)] != GZIP_MAGIC:
                    scan.is_one_member = True
                    return
                yield from scan.end_pending(start)
                scan.record_start, scan.pending = start, None
                capture = self._read_tracked(record, start)
                if capture is not None and capture.error is not None:
                    scan.failure = capture.error
                    return
                scan.pending = capture
                yield from scan.end_damage(start)
        except (OSError, ValueError) as error:
            # Raised while moving to the next record, or while reading the payload of this one.
            scan.failure = str(error) or "unreadable"

    def _end_of_file(self, data: mmap.mmap, compressed: bool, scan: _Scan) -> Iterator[Capture]:
        """Finish after a pass without a failure; bytes of an incomplete last gzip member are damage."""
        start = scan.position if scan.record_start is None else scan.record_start
        end = self._member_end(data, start) if compressed else self.size
        if scan.pending is not None and end == start:
            end = self.size  # the record is whole, and only its gzip checksum is cut off
        yield from scan.end_pending(end)
        if end < self.size:
            scan.begin_damage(end, "the file ends inside a record")

    def _skip_damage(self, data: mmap.mmap, compressed: bool, scan: _Scan) -> Iterator[Capture]:
        """Note where the damage begins, and let the next pass begin at the next readable record."""
        assert scan.failure is not None
        last_start = scan.position if scan.record_start is None else scan.record_start
        next_record = self._next_record(data, last_start + 1, compressed)
        yield from scan.end_pending(next_record)  # it was read to its end, so it is whole
        is_last_damaged = scan.record_start is None or (scan.pending is None and self._inside_record)
        scan.begin_damage(last_start if is_last_damaged else last_start + 1, scan.failure)
        scan.begin_pass(next_record)

    def _next_record(self, data: mmap.mmap, position: int, compressed: bool) -> int:
        """Offset of the next record that begins at or after `position`, or the file's end."""
        if not compressed:
            while header := RECORD_START.search(data, position):
                if header.start() == 0 or data[header.start() - 1 : header.start()] == b"\n":
                    return header.start()
                position = header.end()
            return self.size
        while (offset := data.find(GZIP_MAGIC, position)) >= 0:
            if RECORD_START.match(probe(data[offset : offset + PROBE_BYTES])):
                return offset
            position = offset + 1
        return self.size

    def _member_end(self, data: mmap.mmap, start: int) -> int:
        """Where the gzip member at `start` ends; `start` itself if the member is incomplete or damaged."""
        inflater, position = gzip_inflater(), start
        try:
            while position < self.size and not inflater.eof:
                chunk = data[position : position + _CHUNK_BYTES]
                inflater.decompress(chunk)
                position += len(chunk)
        except zlib.error:
            return start
        return position - len(inflater.unused_data) if inflater.eof else start

    def _read_tracked(self, record: Any, start: int) -> Capture | None:
        """Read a record, and remember in `_inside_record` whether damage lies inside it."""
        self._inside_record = True
        capture = self.read_record(record, start)
        self._inside_record = capture is not None and capture.error is not None
        return capture

    def read_record(self, record: Any, start: int) -> Capture | None:
        """The record at `start`; None if it is no capture or not wanted. `error` is set on one that is not whole."""
        if self.wanted is not None and start not in self.wanted:
            return None
        capture = _read_header(record, start)
        if capture is None or capture.error is not None:
            return capture
        declared = int(record.headers.get("Content-Length"))
        chunk, head_bytes = record.reader.read(_CHUNK_BYTES), 0
        is_http = capture.record_type != "resource" and capture.url[:4].lower() == "http" and declared > 0
        if is_http:
            capture.status, capture.http, head_bytes = parse_http(chunk)
            chunk = chunk[head_bytes:]
        if capture.record_type == "revisit":
            return capture
        if self.wanted is None:
            return _digest_payload(record, capture, chunk, declared, head_bytes)
        capture.payload_bytes = declared - head_bytes
        if self.max_payload is None or capture.payload_bytes <= self.max_payload:
            pieces = [chunk]
            while piece := record.reader.read(_CHUNK_BYTES):
                pieces.append(piece)
            capture.payload = b"".join(pieces)
        return capture

    def _read_one_member(self) -> Iterator[Capture]:
        """Read a file that is one gzip member over all records; offsets count decompressed bytes."""
        with open(self.path, "rb") as file:
            stream = InflatedStream(file)
            scan = _Scan(record_start=0)
            try:
                for record in ArchiveIterator(stream, parse_http=False, stream_detect=False):
                    start = record.stream_pos
                    yield from scan.end_pending(start)
                    scan.record_start, scan.pending = start, None
                    capture = self._read_tracked(record, start)
                    if capture is not None and capture.error is not None:
                        scan.failure = capture.error
                        break
                    scan.pending = capture
            except (OSError, ValueError) as error:
                scan.failure = str(error) or "unreadable"
            last_start, pending = scan.record_start or 0, scan.pending
            if pending is not None:
                pending.length = max(stream.tell() - pending.offset, 0) if scan.failure is None else 0
                yield pending
            failure = scan.failure or stream.problem
            if failure is not None:
                yield corrupt_stretch(
                    last_start if pending is None else last_start + 1,
                    0,
                    f"{failure}; the file is one gzip member, and nothing after this point can be read",
                )


def _read_header(record: Any, start: int) -> Capture | None:
    """A capture from a record's WARC header; None for other record types, such as requests."""
    headers = record.headers
    record_type = _TYPES.get(int(record.record_type))
    if record_type is None:
        if headers.get("WARC-Type") is None:
            return corrupt_stretch(start, 0, "a record without WARC-Type")
        return None
    url = target_uri(headers)
    length = headers.get("Content-Length")
    if not url:
        return corrupt_stretch(start, 0, "a record without WARC-Target-URI")
    if length is None or not length.strip().isdigit():
        return corrupt_stretch(start, 0, "a record without a valid Content-Length")
    capture = Capture(start, 0, record_type, url, (headers.get("WARC-Date") or "").strip())
    capture.content_type = headers.get("Content-Type")
    capture.declared_digest = headers.get("WARC-Payload-Digest")
    capture.truncated = headers.get("WARC-Truncated")
    if record_type == "revisit":
        capture.refers_to_uri = headers.get("WARC-Refers-To-Target-URI") or url
        capture.refers_to_date = headers.get("WARC-Refers-To-Date")
    return capture


def _digest_payload(record: Any, capture: Capture, chunk: bytes, declared: int, head_bytes: int) -> Capture:
    """Read a payload, whose first bytes are `chunk`, to its end; a record cut short is a corrupt stretch."""
    digest, total = hashlib.sha1(usedforsecurity=False), 0
    while chunk:
        digest.update(chunk)
        total += len(chunk)
        chunk = record.reader.read(_CHUNK_BYTES)
    if total + head_bytes != declared:
        return corrupt_stretch(capture.offset, 0, f"a record cut short: {total + head_bytes} of {declared} bytes")
    capture.payload_bytes = total
    capture.digest = digest_name(digest)
    return capture
