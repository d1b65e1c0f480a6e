"""Captures and records of an archive, as values."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

ARCHIVE_ENDINGS = (".warc", ".warc.gz", ".arc", ".arc.gz", ".warc.zst", ".warc.lz4")
DERIVED_ENDINGS = (".wet.gz", ".wat.gz")  # Common Crawl's extracted text and metadata


class WarcError(ValueError):
    """The archive cannot be opened at all; the message names the file."""


@dataclass(slots=True)
class Capture:
    """One response, revisit or resource record, or one corrupt stretch (record_type corrupt, with `error`).

    offset, length: bytes of the file. http: headers by lower-case name. payload: as stored; None unless requested.
    payload_bytes and digest (``sha1:`` and base32, as in WARC) are set for every whole record; declared_digest is what
    the record itself states.
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


@dataclass(slots=True)
class RecordSpan(Capture):
    """The place of one record of any type, with its URL (empty where it has none) and date; nothing else is read."""

    record_id: str = ""


def corrupt_stretch(offset: int, length: int, error: str) -> Capture:
    return Capture(offset, max(length, 0), "corrupt", error=error)


def sha1_digest(payload: bytes) -> str:
    """A WARC payload digest: ``sha1:`` and base32."""
    return digest_name(hashlib.sha1(payload, usedforsecurity=False))


def digest_name(digest: Any) -> str:
    """The WARC form of a hashlib digest."""
    return "sha1:" + base64.b32encode(digest.digest()).decode()


def is_archive_name(name: str) -> bool:
    """Whether a file name looks like a WARC or ARC file."""
    lower = name.lower()
    return lower.endswith(ARCHIVE_ENDINGS) and not lower.endswith(DERIVED_ENDINGS)
