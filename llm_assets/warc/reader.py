"""Reads the captures of WARC files, and continues after damage."""

from __future__ import annotations

import hashlib
import io
import itertools
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .arc import is_arc, read_arc
from .compression import GZIP, PROBE_BYTES, RECORD_START, Compression, compression_of
from .http_head import parse_http
from .members import Damage, MemberStream
from .record_stream import Record, strict_records, tolerant_records
from .records import Capture, WarcError, corrupt_stretch, digest_hasher, digest_name, normal_digest

_CHUNK_BYTES = 1 << 20
_TYPES = ("response", "revisit", "resource")


def read_captures(path: Path, wanted: set[int] | None = None, max_payload: int | None = None) -> Iterator[Capture]:
    """Every capture of a file, in file order, corrupt stretches included.

    wanted: yield only the records at these offsets, with their payload (as stored; None if it is longer than
    `max_payload` bytes) and without a digest. Raises WarcError only for a path, or a zstd dictionary, that cannot be
    read.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise WarcError(f"{path}: {error.strerror}") from error
    if size == 0:
        return
    if is_arc(path):
        yield from read_arc(path, wanted, max_payload)
    else:
        yield from RecordReader(path, wanted, max_payload).captures()


def read_capture_at(path: Path, offset: int) -> Capture | None:
    """The capture at `offset`, with its payload, of an uncompressed file or one with a compressed member per record."""
    with open(path, "rb") as file:
        for record in tolerant_records(MemberStream(file, offset, compression_of(path))):
            return RecordReader(path, {record.offset}, None).read_record(record)
    return None


def read_member(data: bytes) -> Capture:
    """The capture of one record's gzip member, without its payload; corrupt if it is not a whole capture, alone."""
    stream = MemberStream(io.BytesIO(data), 0, GZIP)
    capture, problem = None, ""
    try:
        for count, record in enumerate(tolerant_records(stream)):
            if count:
                raise Damage("more than one record")
            capture = _read_record(record, None, None)
    except (OSError, ValueError) as error:
        problem = str(error) or "unreadable"
    if not problem and stream.ends_early:
        problem = "the gzip member ends early"
    if not problem and capture is None:
        problem = "no response, revisit or resource record"
    if problem or capture is None:
        return corrupt_stretch(0, len(data), problem)
    capture.length = len(data)
    return capture


def target_uri(record: Record) -> str:
    return _uri(record.header("warc-target-uri"))


def _uri(text: str) -> str:
    """A URI without the angle brackets that WARC 1.0 showed around it."""
    return text.strip("<>")


@dataclass
class _Scan:
    """How far a file has been read.

    A file is read in passes; each ends at damage or at the end of the file, and the next begins at the record after it.
    position: where the pass began. record_start: of the record being read. pending: the last whole record, whose end is
    not known yet. damage_start, damage_problem: a stretch that could not be read, of which the end is not known yet.
    """

    position: int = 0
    record_start: int | None = None
    pending: Capture | None = None
    damage_start: int | None = None
    damage_problem: str = ""

    def begin_pass(self, position: int) -> None:
        self.position, self.record_start, self.pending = position, None, None

    def begin_record(self, start: int) -> Iterator[Capture]:
        """Note where a record begins, and yield the one before it."""
        yield from self.end_pending(start)
        self.record_start, self.pending = start, None

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

    def __init__(self, path: Path, wanted: set[int] | None, max_payload: int | None):
        self.path, self.size, self.wanted, self.max_payload = path, path.stat().st_size, wanted, max_payload
        self._inside_record = False  # whether an error arose inside a record, not between two

    def captures(self) -> Iterator[Capture]:
        """Every capture and corrupt stretch, in file order."""
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            compression = compression_of(self.path)
            if compression is None and not RECORD_START.match(data[:PROBE_BYTES]):
                # The first bytes may be damaged or padding; then compressed members follow later in the file.
                candidates = (GZIP, Compression("zstd"))
                compression = next((c for c in candidates if self._next_record(data, 0, c) < self.size), None)
            if compression is not None and _records_share_members(file, compression):
                yield from self._read_by_plain_offset(file, compression)
                return
            scan = _Scan()
            yield from self._read_strict(file, scan)
            while scan.position < self.size:
                yield from self._read_tolerant(file, data, compression, scan)
            yield from scan.end_damage(self.size)

    def _read_strict(self, file: BinaryIO, scan: _Scan) -> Iterator[Capture]:
        """Read well-formed records, and let the tolerant pass begin at the last one that was read.

        That pass judges damage, and the end of the file.
        """
        file.seek(0)
        try:
            for record in strict_records(file):
                if record is None or (scan.record_start is not None and record.offset <= scan.record_start):
                    break
                yield from scan.begin_record(record.offset)
                capture = self.read_record(record)
                if capture is not None and capture.error is not None:
                    break
                scan.pending = capture
        except (OSError, ValueError):
            pass
        scan.begin_pass(scan.record_start or 0)

    def _read_tolerant(
        self, file: BinaryIO, data: mmap.mmap, compression: Compression | None, scan: _Scan
    ) -> Iterator[Capture]:
        """Read records up to damage or the end of the file."""
        stream = MemberStream(file, scan.position, compression)
        try:
            for record in tolerant_records(stream):
                if record.shares_member:
                    raise Damage("a compressed member holds several records, unlike the first ones of the file")
                yield from scan.begin_record(record.offset)
                capture = self._read_tracked(record)
                if capture is not None and capture.error is not None:
                    raise Damage(capture.error)
                scan.pending = capture
                yield from scan.end_damage(record.offset)
        except (OSError, ValueError) as error:
            # Raised while moving to the next record, or while reading the payload of this one.
            yield from self._skip_damage(data, compression, scan, error)
            return
        start = scan.position if scan.record_start is None else scan.record_start
        if stream.ends_early and (scan.record_start is None or stream.member_start > start):
            yield from scan.end_pending(stream.member_start)
            scan.begin_damage(stream.member_start, "the file ends inside a record")
        else:
            yield from scan.end_pending(self.size)  # at most its compressed member's checksum is cut off
        scan.begin_pass(self.size)

    def _skip_damage(
        self, data: mmap.mmap, compression: Compression | None, scan: _Scan, error: Exception
    ) -> Iterator[Capture]:
        """Note where the damage begins, and let the next pass begin at the next readable record."""
        last_start = scan.position if scan.record_start is None else scan.record_start
        damage = error.offset if isinstance(error, Damage) else None
        next_record = self._next_record(data, last_start + 1 if damage is None else damage + 1, compression)
        # The pending record was read to its end, so it is whole.
        yield from scan.end_pending(next_record if damage is None else damage)
        if damage is None:
            is_last_damaged = scan.record_start is None or (scan.pending is None and self._inside_record)
            damage = last_start if is_last_damaged else last_start + 1
        scan.begin_damage(damage, str(error) or "unreadable")
        scan.begin_pass(next_record)

    def _next_record(self, data: mmap.mmap, position: int, compression: Compression | None) -> int:
        """Offset of the next record that begins at or after `position`, or the file's end."""
        if compression is None:
            while header := RECORD_START.search(data, position):
                if header.start() == 0 or data[header.start() - 1 : header.start()] in (b"\n", b"\0"):
                    return header.start()
                position = header.end()
            return self.size
        while (offset := data.find(compression.magic, position)) >= 0:
            if RECORD_START.match(compression.first_bytes(data[offset : offset + PROBE_BYTES])):
                return offset
            position = offset + 1
        return self.size

    def _read_tracked(self, record: Record) -> Capture | None:
        """Read a record, and remember in `_inside_record` whether damage lies inside it."""
        self._inside_record = True
        capture = self.read_record(record)
        self._inside_record = capture is not None and capture.error is not None
        return capture

    def read_record(self, record: Record) -> Capture | None:
        """A record; None if it is no capture or not wanted. `error` is set on one that is not whole."""
        return _read_record(record, self.wanted, self.max_payload)

    def _read_by_plain_offset(self, file: BinaryIO, compression: Compression) -> Iterator[Capture]:
        """Read a file whose compressed members do not hold one record each; offsets count decompressed bytes."""
        stream = MemberStream(file, 0, compression, count_plain=True)
        scan = _Scan(record_start=0)
        failure: str | None = None
        try:
            for record in tolerant_records(stream):
                yield from scan.begin_record(record.offset)
                capture = self._read_tracked(record)
                if capture is not None and capture.error is not None:
                    raise Damage(capture.error)
                scan.pending = capture
        except (OSError, ValueError) as error:
            failure = str(error) or "unreadable"
        if failure is None and stream.ends_early:
            failure = f"the {compression.name} stream ends early"
        last_start, pending = scan.record_start or 0, scan.pending
        if pending is not None:
            pending.length = max(stream.tell() - pending.offset, 0)
            yield pending
        if failure is not None:
            yield corrupt_stretch(
                last_start if pending is None else last_start + 1,
                0,
                f"{failure}; the file's compressed members hold several records, and nothing after this point can be "
                "read",
            )


def _records_share_members(file: BinaryIO, compression: Compression) -> bool:
    """Whether the first compressed members do not hold one record each, such as those of a file that was compressed as
    a whole or in blocks."""
    if not compression.is_framed:
        return True
    try:
        first_records = itertools.islice(tolerant_records(MemberStream(file, 0, compression)), 3)
        return any(record.shares_member for record in first_records)
    except OSError:
        return False


def _read_record(record: Record, wanted: set[int] | None, max_payload: int | None) -> Capture | None:
    """See `RecordReader.read_record`.

    The error in a header is reported whether the record is wanted or not: it decides where reading continues.
    """
    capture = _read_header(record)
    if capture is None or capture.error is not None:
        return capture
    if wanted is not None and record.offset not in wanted:
        return None
    declared = record.length or 0
    chunk, head_bytes = record.reader.read(_CHUNK_BYTES), 0
    is_http = capture.record_type != "resource" and capture.url[:4].lower() == "http" and declared > 0
    if is_http:
        capture.status, capture.http, head_bytes = parse_http(chunk)
        chunk = chunk[head_bytes:]
    if capture.record_type == "revisit":
        return capture
    if wanted is None:
        return _digest_payload(record, capture, chunk, declared, head_bytes)
    capture.payload_bytes = declared - head_bytes
    if max_payload is None or capture.payload_bytes <= max_payload:
        pieces = [chunk]
        while piece := record.reader.read(_CHUNK_BYTES):
            pieces.append(piece)
        capture.payload = b"".join(pieces)
    return capture


def _read_header(record: Record) -> Capture | None:
    """A capture from a record's WARC header; None for other record types, such as requests."""
    start, record_type = record.offset, record.header("warc-type").lower()
    if not record_type:
        return corrupt_stretch(start, 0, "a record without WARC-Type")
    if record_type not in _TYPES:
        return None
    url = target_uri(record)
    if not url:
        return corrupt_stretch(start, 0, "a record without WARC-Target-URI")
    if record.length is None:
        return corrupt_stretch(start, 0, "a record without a valid Content-Length")
    capture = Capture(start, 0, record_type, url, record.header("warc-date"))
    capture.content_type = record.header("content-type") or None
    declared_digest = record.header("warc-payload-digest")
    capture.declared_digest = normal_digest(declared_digest) if declared_digest else None
    capture.truncated = record.header("warc-truncated") or None
    if record_type == "revisit":
        capture.refers_to_uri = _uri(record.header("warc-refers-to-target-uri")) or url
        capture.refers_to_date = record.header("warc-refers-to-date") or None
    return capture


def _digest_payload(record: Record, capture: Capture, chunk: bytes, declared: int, head_bytes: int) -> Capture:
    """Read a payload, whose first bytes are `chunk`, to its end; a record cut short is a corrupt stretch."""
    digest, total = hashlib.sha1(usedforsecurity=False), 0
    capture.payload_head = chunk
    algorithm = (capture.declared_digest or "").partition(":")[0]
    other_digest = digest_hasher(algorithm) if algorithm != digest.name else None
    while chunk:
        digest.update(chunk)
        if other_digest is not None:
            other_digest.update(chunk)
        total += len(chunk)
        chunk = record.reader.read(_CHUNK_BYTES)
    if total + head_bytes != declared:
        return corrupt_stretch(capture.offset, 0, f"a record cut short: {total + head_bytes} of {declared} bytes")
    capture.payload_bytes = total
    capture.digest = digest_name(digest)
    if algorithm == digest.name:
        capture.checked_digest = capture.digest
    elif other_digest is not None:
        capture.checked_digest = digest_name(other_digest)
    return capture
