"""Reads any WARC or ARC file to its end, whatever is damaged in it.

fastwarc reads what is well-formed, and a tolerant reader continues where it cannot. This package adds what real
archives need: corrupt stretches become captures of their own, and reading continues after them; a record whose payload
is cut short is distinguished from a whole one; a file whose compressed members hold several records gets usable
offsets; zstd files may have a dictionary; and ARC files are read, through warcio. Payloads are read in bounded memory.
"""

from .arc import is_arc
from .compression import GZIP_MAGIC, compression_of
from .content_coding import (
    CODINGS,
    ContentCodingError,
    TooLarge,
    dechunk,
    decode_coding,
    decode_http_body,
    decode_transfer,
)
from .http_head import parse_http
from .members import copy_inflated, first_bytes
from .reader import read_capture_at, read_captures, read_member
from .records import (
    Capture,
    RecordSpan,
    WarcError,
    digest_hasher,
    digest_name,
    is_archive_name,
    normal_digest,
    sha1_digest,
)
from .spans import read_spans

__all__ = [
    "CODINGS",
    "GZIP_MAGIC",
    "Capture",
    "ContentCodingError",
    "RecordSpan",
    "TooLarge",
    "WarcError",
    "compression_of",
    "copy_inflated",
    "dechunk",
    "decode_coding",
    "decode_http_body",
    "decode_transfer",
    "digest_hasher",
    "digest_name",
    "first_bytes",
    "is_arc",
    "is_archive_name",
    "normal_digest",
    "parse_http",
    "read_capture_at",
    "read_captures",
    "read_member",
    "read_spans",
    "sha1_digest",
]
