"""Captures and records of an archive, as values."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any

ARCHIVE_ENDINGS = (".warc", ".warc.gz", ".arc", ".arc.gz", ".warc.zst", ".warc.lz4")
DERIVED_ENDINGS = (".wet.gz", ".wat.gz")  # Common Crawl's extracted text and metadata
_NORMAL_SHA1 = re.compile("sha1:[A-Z2-7]{32}")
_DIGEST = re.compile(r"(?:([A-Za-z0-9_-]+)[:=])?([A-Za-z0-9+/_-]+=*)")
_DIGEST_BYTES = {"md5": 16, "sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}
# The algorithm of a value without one, by its length: SHA-1 in base32 or hex, SHA-256 in hex.
_BARE_ALGORITHMS = {32: "sha1", 40: "sha1", 64: "sha256"}


class WarcError(ValueError):
    """The archive cannot be opened at all; the message names the file."""


@dataclass(slots=True)
class Capture:
    """One response, revisit or resource record, or one corrupt stretch (record_type corrupt, with `error`).

    offset, length: bytes of the file. http: headers by lower-case name. payload: as stored; None unless requested.
    payload_bytes and digest (``sha1:`` and base32, as in WARC) are set for every whole record; declared_digest is what
    the record itself states (see `normal_digest`), and checked_digest that of the payload by the same algorithm.
    payload_head: the payload's first bytes (up to 1 MiB), where the payload itself is not requested.
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
    checked_digest: str | None = None
    truncated: str | None = None
    refers_to_uri: str | None = None
    refers_to_date: str | None = None
    payload: bytes | None = None
    payload_head: bytes = b""
    error: str | None = None


@dataclass(slots=True)
class RecordSpan(Capture):
    """The place of one record of any type, with its URL (empty where it has none) and date; nothing else is read."""

    record_id: str = ""


def corrupt_stretch(offset: int, length: int, error: str) -> Capture:
    return Capture(offset, max(length, 0), "corrupt", error=error)


def sha1_digest(payload: bytes) -> str:
    """The SHA-1 digest of a payload, in the normal form."""
    return digest_name(hashlib.sha1(payload, usedforsecurity=False))


def digest_name(digest: Any) -> str:
    """The normal form of a hashlib digest."""
    return _digest_form(digest.name, digest.digest())


def _digest_form(algorithm: str, value: bytes) -> str:
    return f"{algorithm}:{base64.b32encode(value).decode().rstrip('=')}"


def digest_hasher(algorithm: str) -> Any | None:
    """A hasher for one of the algorithms that WARC files name; None for an unknown one."""
    return hashlib.new(algorithm, usedforsecurity=False) if algorithm in _DIGEST_BYTES else None


def normal_digest(text: str) -> str:
    """A declared digest as ``algorithm:value`` with the value in base32, as `digest_name` gives it.

    WARC leaves the algorithm and the encoding to the writer (ISO 28500, section 5.8): crawlers write the value in
    base32, hex or base64, in either case, and some leave the algorithm out. A value that cannot be read stays as it is.
    """
    if _NORMAL_SHA1.fullmatch(text):  # as most crawlers write it
        return text
    match = _DIGEST.fullmatch(text.strip())
    if match is None:
        return text.strip()
    value = match.group(2)
    algorithm = (match.group(1) or _BARE_ALGORITHMS.get(len(value), "")).lower().replace("-", "").replace("_", "")
    size = _DIGEST_BYTES.get(algorithm)
    if size is None:
        return f"{algorithm}:{value}" if algorithm else value
    try:
        if len(value) == 2 * size:
            return _digest_form(algorithm, bytes.fromhex(value))
        bare = value.rstrip("=")
        if len(bare) == -(-size * 8 // 5):
            return _digest_form(algorithm, base64.b32decode(bare.upper() + "=" * (-len(bare) % 8)))
        if len(bare) == -(-size * 8 // 6):
            standard = bare.replace("-", "+").replace("_", "/") + "=" * (-len(bare) % 4)
            return _digest_form(algorithm, base64.b64decode(standard, validate=True))
    except ValueError:
        pass
    return f"{algorithm}:{value}"


def is_archive_name(name: str) -> bool:
    """Whether a file name looks like a WARC or ARC file."""
    lower = name.lower()
    return lower.endswith(ARCHIVE_ENDINGS) and not lower.endswith(DERIVED_ENDINGS)
