"""Reads any WARC or ARC file to its end, whatever is damaged in it.

fastwarc does the reading. This package adds what real archives need: corrupt stretches become captures of their own,
and reading continues after them; a record whose payload is cut short is distinguished from a whole one; a file that is
one gzip member over all records gets usable offsets; and ARC files are read, through warcio. The payload of a WARC
record is read at most once, in bounded memory.
"""

from .arc import is_arc
from .gzip_members import GZIP_MAGIC, copy_inflated
from .http_head import parse_http
from .reader import read_capture_at, read_captures
from .records import Capture, RecordSpan, WarcError, is_archive_name, sha1_digest
from .spans import read_spans

__all__ = [
    "GZIP_MAGIC",
    "Capture",
    "RecordSpan",
    "WarcError",
    "copy_inflated",
    "is_arc",
    "is_archive_name",
    "parse_http",
    "read_capture_at",
    "read_captures",
    "read_spans",
    "sha1_digest",
]
