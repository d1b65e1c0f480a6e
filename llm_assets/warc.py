"""Read any WARC or ARC file to its end, whatever is broken in it.

fastwarc reads; this adds what real archives need: corrupt stretches become rows and reading goes on behind them, a
record whose payload is cut short is told from a whole one, a file that is one gzip member over all records gets usable
offsets, and ARC files are read (through warcio). A WARC record's payload is read at most once, bounded in memory.
"""

from __future__ import annotations

import base64
import hashlib
import io
import mmap
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecordType

GZIP_MAGIC = b"\x1f\x8b\x08"
_HEADER = re.compile(rb"WARC/[01]\.\d+\r?\n")
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})")
_TARGET = re.compile(rb"(?i)\nWARC-Target-URI:[ \t]*<?([^\s>]+)")
_HEAD = 8192  # bytes in which the header of a damaged record is looked for
_ARC = re.compile(rb"filedesc://")
_CHUNK = 1 << 20
# A gzip member is probed for "WARC/" with this many compressed bytes: enough for the first 64 header bytes.
_PROBE = 512

_TYPES = {
    int(WarcRecordType.response): "response",
    int(WarcRecordType.revisit): "revisit",
    int(WarcRecordType.resource): "resource",
}


class WarcError(ValueError):
    """An archive that cannot be opened at all; the message names the file."""


@dataclass(slots=True)
class Capture:
    """One response, revisit or resource record, or one corrupt stretch (`error` set).

    `payload` is None unless asked for; `payload_bytes` and `digest` (``sha1:`` + base32, as in WARC) are always set
    for whole records.
    """

    offset: int
    length: int
    record_type: str
    url: str = ""
    date: str = ""
    status: int | None = None
    http: dict[str, str] | None = None
    content_type: str | None = None
    payload_bytes: int = 0
    digest: str = ""
    declared_digest: str | None = None
    truncated: str | None = None
    refers_to_uri: str | None = None
    refers_to_date: str | None = None
    payload: bytes | None = None
    error: str | None = None


def sha1_digest(payload: bytes) -> str:
    """A WARC payload digest: ``sha1:`` and base32."""
    return _digest_name(hashlib.sha1(payload, usedforsecurity=False))


def _digest_name(digest: Any) -> str:
    return "sha1:" + base64.b32encode(digest.digest()).decode()


def parse_http(block: bytes) -> tuple[int | None, dict[str, str] | None, int]:
    """Status, headers (lower-case names, the first of each) and length of the head of an HTTP response.

    Lines may end in CRLF or, as in ClueWeb09, in a bare LF; folded lines are joined (RFC 9112, section 5.2). Bytes that
    do not begin with a status line have no head: (None, None, 0).
    """
    status = _STATUS.match(block)
    if status is None:
        return None, None, 0
    ending = b"\r\n" if block[status.end() : status.end() + 200].split(b"\n", 1)[0].endswith(b"\r") else b"\n"
    end = block.find(ending * 2)
    head = block[:end] if end >= 0 else block
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    headers: dict[str, str] = {}
    name = ""
    for line in text.split("\n")[1:]:
        line = line.rstrip("\r")
        if line[:1] in (" ", "\t"):
            if name:
                headers[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name and name not in headers:
            headers[name] = value.strip()
        else:
            name = ""
    return int(status.group(1)), headers, end + 2 * len(ending) if end >= 0 else len(block)


def is_archive_name(name: str) -> bool:
    """Whether a file name looks like a WARC or ARC file."""
    lower = name.lower()
    return lower.endswith((".warc", ".warc.gz", ".arc", ".arc.gz", ".warc.zst", ".warc.lz4")) and not lower.endswith(
        (".wet.gz", ".wat.gz")
    )


def read_captures(path: Path, wanted: set[int] | None = None, max_payload: int | None = None) -> Iterator[Capture]:
    """Every capture of a file, in file order, corrupt stretches included.

    With `wanted`, only the records at these offsets, with their payload (as stored; None where it is longer than
    `max_payload` bytes); nothing is digested then. Raises WarcError for an unreadable or empty path only.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            head = stream.read(_PROBE)
    except OSError as error:
        raise WarcError(f"{path}: {error.strerror}") from error
    if size == 0:
        return
    plain = _inflate(head)
    if _ARC.match(plain):
        yield from _read_arc(path, wanted, max_payload)
        return
    reader = _Reader(path, size, wanted, max_payload)
    yield from reader.captures(compressed=head.startswith(GZIP_MAGIC))


@dataclass(slots=True)
class RecordSpan(Capture):
    """Where one record of any type lies, with its URL (empty where it has none) and date; nothing else of it is read."""

    record_id: str = ""


def is_arc(path: Path) -> bool:
    """Whether a file is an ARC file. Raises WarcError for an unreadable path."""
    try:
        with open(path, "rb") as stream:
            return _ARC.match(_inflate(stream.read(_PROBE))) is not None
    except OSError as error:
        raise WarcError(f"{path}: {error.strerror}") from error


def read_spans(path: Path) -> Iterator[RecordSpan]:
    """Every record of a file that has a readable header, requests and damaged records too, in file order.

    Of a damaged one the type is corrupt, and the span ends where the next record begins.
    """
    if path.stat().st_size == 0:
        return
    if is_arc(path):
        captures = _read_arc(path, None, None)
    else:
        with open(path, "rb") as stream:
            compressed = stream.read(3) == GZIP_MAGIC
        captures = _Spans(path, path.stat().st_size, None, None).captures(compressed)
    for one in captures:
        if isinstance(one, RecordSpan):
            yield one
        elif one.record_type != "corrupt":
            yield RecordSpan(one.offset, one.length, one.record_type, one.url, one.date)
        elif one.length:
            yield from _damaged_records(path, one.offset, one.offset + one.length)


def _damaged_records(path: Path, start: int, end: int) -> Iterator[RecordSpan]:
    """Records in a corrupt stretch of a file of which at least the target URI can be read."""
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        heads = {
            match.start(): data[match.start() : match.start() + _HEAD] for match in _HEADER.finditer(data, start, end)
        }
        position = start
        while (position := data.find(GZIP_MAGIC, position, end)) >= 0:
            if _HEADER.match(head := _inflated_head(data[position : min(position + _HEAD, end)])):
                heads[position] = head
            position += 1
        places = sorted(heads)
        for place, following in zip(places, [*places[1:], end], strict=False):
            if found := _TARGET.search(heads[place]):
                yield RecordSpan(place, following - place, "corrupt", found.group(1).decode("utf-8", "replace"))


def _inflated_head(data: bytes) -> bytes:
    """The beginning of what a gzip member holds, up to where it is damaged."""
    inflate, head = zlib.decompressobj(31), b""
    for start in range(0, len(data), 16):
        try:
            head += inflate.decompress(data[start : start + 16])
        except zlib.error:
            break
    return head


def copy_inflated(path: Path, out: BinaryIO) -> None:
    """Write what a gzip file of one member holds, up to where it is damaged."""
    with open(path, "rb") as file:
        stream = _Inflated(file)
        while chunk := stream.read():
            out.write(chunk)


def read_capture_at(path: Path, offset: int) -> Capture | None:
    """The one capture at `offset` of a file with one gzip member (or none) a record, with its payload."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        for record in ArchiveIterator(stream, parse_http=False):
            return _Reader(path, 0, {record.stream_pos}, None)._capture(record, record.stream_pos)
    return None


def _inflate(head: bytes) -> bytes:
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(31).decompress(head, 64)
    except zlib.error:
        return b""


class _Reader:
    def __init__(self, path: Path, size: int, wanted: set[int] | None, max_payload: int | None):
        self.path, self.size, self.wanted, self.max_payload = path, size, wanted, max_payload
        self._reading = False  # inside a record that counts, as opposed to between two

    def captures(self, compressed: bool) -> Iterator[Capture]:
        with open(self.path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # A file whose first bytes are damaged is still one of gzip members.
            compressed = compressed or (not _HEADER.match(data[:_PROBE]) and self._resync(data, 0, True) < self.size)
            position = 0
            damage: tuple[int, str] | None = None  # where a stretch that could not be read began, and why
            while position < self.size:
                stream.seek(position)
                last: int | None = None  # the record being read in this pass
                pending: Capture | None = None
                failure: str | None = None
                try:
                    for record in ArchiveIterator(stream, parse_http=False):
                        start = record.stream_pos
                        if compressed and data[start : start + 3] != GZIP_MAGIC:
                            yield from self._one_member()
                            return
                        if pending is not None:
                            pending.length = start - pending.offset
                            yield pending
                        last, pending = start, None
                        capture = self._capture(record, start)
                        if capture is not None and capture.error is not None:
                            failure = capture.error
                            break
                        pending = capture
                        if damage is not None:
                            yield _corrupt(damage[0], start - damage[0], damage[1])
                            damage = None
                except (OSError, ValueError) as error:
                    # Raised while moving to the next record, or while reading this one's payload.
                    failure = str(error) or "unreadable"
                if failure is None:
                    start = position if last is None else last
                    end = self._last_end(data, start) if compressed else self.size
                    if pending is not None:
                        end = self.size if end == start else end  # whole but for its gzip checksum
                        pending.length = end - pending.offset
                        yield pending
                    if end < self.size and damage is None:
                        damage = (end, "the file ends inside a record")
                    break
                boundary = self._resync(data, position + 1 if last is None else last + 1, compressed)
                if pending is not None:  # the record before the damage was read to its end: it is whole
                    pending.length = boundary - pending.offset
                    yield pending
                if damage is None:
                    broken_record = last is not None and pending is None and self._reading
                    damage = (position if last is None else last if broken_record else last + 1, failure)
                position = boundary
            if damage is not None:
                yield _corrupt(damage[0], self.size - damage[0], damage[1])

    def _resync(self, data: mmap.mmap, position: int, compressed: bool) -> int:
        """Offset of the next record that begins at or after `position`, or the file's end."""
        if not compressed:
            while match := _HEADER.search(data, position):
                if match.start() == 0 or data[match.start() - 1 : match.start()] == b"\n":
                    return match.start()
                position = match.end()
            return self.size
        while (found := data.find(GZIP_MAGIC, position)) >= 0:
            if _HEADER.match(_inflate(data[found : found + _PROBE])):
                return found
            position = found + 1
        return self.size

    def _last_end(self, data: mmap.mmap, start: int) -> int:
        """Where the gzip member at `start` ends; what follows the last whole member has been cut off."""
        inflate, position = zlib.decompressobj(31), start
        try:
            while position < self.size and not inflate.eof:
                chunk = data[position : position + _CHUNK]
                inflate.decompress(chunk)
                position += len(chunk)
        except zlib.error:
            return start
        return position - len(inflate.unused_data) if inflate.eof else start

    def _capture(self, record: Any, start: int) -> Capture | None:
        """The record at `start`, None where it is not asked for; `error` is set on one that is not whole."""
        self._reading = True
        capture = self._read(record, start)
        self._reading = capture is not None and capture.error is not None
        return capture

    def _read(self, record: Any, start: int) -> Capture | None:
        kind = _TYPES.get(int(record.record_type))
        if self.wanted is not None and start not in self.wanted:
            return None
        headers = record.headers
        if kind is None:
            if headers.get("WARC-Type") is None:
                return _corrupt(start, 0, "a record without WARC-Type")
            return None
        url = (headers.get("WARC-Target-URI") or "").strip().strip("<>")
        length = headers.get("Content-Length")
        if not url or length is None or not length.strip().isdigit():
            return _corrupt(
                start, 0, "a record without " + ("WARC-Target-URI" if not url else "a valid Content-Length")
            )
        declared = int(length)
        capture = Capture(
            start, 0, kind, url, (headers.get("WARC-Date") or "").strip(), content_type=headers.get("Content-Type")
        )
        capture.declared_digest = headers.get("WARC-Payload-Digest")
        capture.truncated = headers.get("WARC-Truncated")
        if kind == "revisit":
            capture.refers_to_uri = headers.get("WARC-Refers-To-Target-URI") or url
            capture.refers_to_date = headers.get("WARC-Refers-To-Date")
        is_http = kind != "resource" and url[:4].lower() == "http" and declared > 0
        reader = record.reader
        chunk, header_bytes = reader.read(_CHUNK), 0
        if is_http:
            capture.status, capture.http, header_bytes = parse_http(chunk)
            chunk = chunk[header_bytes:]
        if kind == "revisit":
            return capture
        if self.wanted is not None:
            capture.payload_bytes = declared - header_bytes
            if self.max_payload is None or capture.payload_bytes <= self.max_payload:
                pieces = [chunk]
                while piece := reader.read(_CHUNK):
                    pieces.append(piece)
                capture.payload = b"".join(pieces)
            return capture
        digest, total = hashlib.sha1(usedforsecurity=False), 0
        while chunk:
            digest.update(chunk)
            total += len(chunk)
            chunk = reader.read(_CHUNK)
        if total + header_bytes != declared:
            return _corrupt(start, 0, f"a record cut short: {total + header_bytes} of {declared} bytes")
        capture.payload_bytes = total
        capture.digest = _digest_name(digest)
        return capture

    def _one_member(self) -> Iterator[Capture]:
        """Read a file that is one gzip member over all records; offsets count decompressed bytes."""
        with open(self.path, "rb") as file:
            stream = _Inflated(file)
            last, failure = 0, None
            pending: Capture | None = None
            try:
                for record in ArchiveIterator(stream, parse_http=False, stream_detect=False):
                    if pending is not None:
                        pending.length = record.stream_pos - pending.offset
                        yield pending
                    last, pending = record.stream_pos, None
                    capture = self._capture(record, last)
                    if capture is not None and capture.error is not None:
                        failure = capture.error
                        break
                    pending = capture
            except (OSError, ValueError) as error:
                failure = str(error) or "unreadable"
            if pending is not None:
                pending.length = max(stream.tell() - pending.offset, 0) if failure is None else 0
                yield pending
            failure = failure or stream.problem
            if failure is not None:
                yield _corrupt(
                    last if pending is None else last + 1,
                    0,
                    f"{failure}; the file is one gzip member, nothing behind this can be read",
                )


class _Spans(_Reader):
    """Reads the headers alone, of records of every type."""

    def _read(self, record: Any, start: int) -> Capture | None:
        headers = record.headers
        url = (headers.get("WARC-Target-URI") or "").strip().strip("<>")
        date = (headers.get("WARC-Date") or "").strip()
        return RecordSpan(
            start, 0, headers.get("WARC-Type") or "", url, date, record_id=headers.get("WARC-Record-ID") or ""
        )


class _Inflated(io.RawIOBase):
    """What a gzip file holds, up to where it is damaged; `problem` says how it ended, if not well."""

    def __init__(self, stream: BinaryIO):
        self._stream, self._inflate, self._position = stream, zlib.decompressobj(31), 0
        self._ready = b""
        self.problem: str | None = None

    def read(self, size: int = -1) -> bytes:
        while not self._ready and self.problem is None and not self._inflate.eof:
            chunk = self._stream.read(65_536)
            if not chunk:
                self.problem = "the gzip stream ends early"
                break
            try:
                self._ready = self._inflate.decompress(chunk)
            except zlib.error as error:
                self.problem = str(error)
        data = self._ready if size < 0 else self._ready[:size]
        self._ready = self._ready[len(data) :]
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True


def _corrupt(offset: int, length: int, error: str) -> Capture:
    return Capture(offset, max(length, 0), "corrupt", error=error)


def _read_arc(path: Path, wanted: set[int] | None, max_payload: int | None) -> Iterator[Capture]:
    from warcio.archiveiterator import ArchiveIterator as ArcIterator
    from warcio.exceptions import ArchiveLoadFailed

    last = 0
    with open(path, "rb") as stream:
        iterator = ArcIterator(stream, arc2warc=True)
        try:
            for record in iterator:
                if record.rec_type != "response":
                    continue
                last = iterator.offset  # get_record_offset() would read the record to its end
                if wanted is not None and last not in wanted:
                    continue
                headers = record.rec_headers
                url = headers.get_header("WARC-Target-URI") or ""
                capture = Capture(
                    last,
                    0,
                    "response",
                    url,
                    headers.get_header("WARC-Date") or "",
                    content_type=headers.get_header("Content-Type"),
                )
                if record.http_headers is not None:
                    code = (record.http_headers.get_statuscode() or "").strip()
                    capture.status = int(code) if code.isdigit() and len(code) == 3 else None
                    capture.http = {name.lower(): value for name, value in reversed(record.http_headers.headers)}
                digest, pieces, total = hashlib.sha1(usedforsecurity=False), [], 0
                while chunk := record.raw_stream.read(_CHUNK):
                    digest.update(chunk)
                    total += len(chunk)
                    if wanted is not None and (max_payload is None or total <= max_payload):
                        pieces.append(chunk)
                capture.payload_bytes = total
                capture.digest = _digest_name(digest)
                if wanted is not None and (max_payload is None or total <= max_payload):
                    capture.payload = b"".join(pieces)
                capture.length = iterator.get_record_length()
                yield capture
        except (ArchiveLoadFailed, OSError, ValueError, zlib.error, EOFError) as error:
            yield Capture(
                last + 1 if last else 0, 0, "corrupt", error=f"{error}; nothing behind this can be read in an ARC file"
            )
