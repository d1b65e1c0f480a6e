"""Reads ARC files, the predecessor of WARC, through warcio."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .members import first_bytes
from .records import Capture, corrupt_stretch, digest_name

_FIRST_BYTES = re.compile(rb"filedesc://")
_CHUNK_BYTES = 1 << 20


def is_arc(path: Path) -> bool:
    """Whether a file is an ARC file. Raises WarcError for an unreadable path."""
    return _FIRST_BYTES.match(first_bytes(path)) is not None


def read_arc(path: Path, wanted: set[int] | None, max_payload: int | None) -> Iterator[Capture]:
    """Every capture of an ARC file, in file order; see `read_captures`. Reading ends at the first damage."""
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    offset = 0
    with open(path, "rb") as stream:
        iterator = ArchiveIterator(stream, arc2warc=True)
        try:
            for record in iterator:
                if record.rec_type != "response":
                    continue
                offset = iterator.offset  # get_record_offset() would read the record to its end
                if wanted is not None and offset not in wanted:
                    continue
                capture = _read_head(record, offset)
                _read_payload(record, capture, wanted is not None, max_payload)
                capture.length = iterator.get_record_length()
                yield capture
        except (ArchiveLoadFailed, OSError, ValueError, OverflowError, zlib.error, EOFError) as error:
            damage = offset + 1 if offset else 0
            yield corrupt_stretch(damage, 0, f"{error}; nothing after this point can be read in an ARC file")


def _read_head(record: Any, offset: int) -> Capture:
    headers = record.rec_headers
    capture = Capture(
        offset,
        0,
        "response",
        headers.get_header("WARC-Target-URI") or "",
        headers.get_header("WARC-Date") or "",
        content_type=headers.get_header("Content-Type"),
    )
    if record.http_headers is not None:
        code = (record.http_headers.get_statuscode() or "").strip()
        capture.status = int(code) if code.isdecimal() and len(code) == 3 else None
        # Reversed, so that the first of several headers of the same name counts.
        capture.http = {name.lower(): value for name, value in reversed(record.http_headers.headers)}
    return capture


def _read_payload(record: Any, capture: Capture, keep_payload: bool, max_payload: int | None) -> None:
    """Set the capture's size and digest, and its payload if it is requested and not longer than `max_payload`."""
    digest, pieces, total = hashlib.sha1(usedforsecurity=False), [], 0
    while chunk := record.raw_stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        capture.payload_head = capture.payload_head or chunk
        total += len(chunk)
        if keep_payload and (max_payload is None or total <= max_payload):
            pieces.append(chunk)
    capture.payload_bytes = total
    capture.digest = digest_name(digest)
    if keep_payload and (max_payload is None or total <= max_payload):
        capture.payload = b"".join(pieces)
