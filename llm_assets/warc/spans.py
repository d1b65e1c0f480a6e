"""Locates every record of an archive, of any type and including damaged ones, without reading their contents."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from .arc import is_arc, read_arc
from .compression import GZIP_MAGIC, RECORD_START
from .members import inflate_until_damage
from .reader import RecordReader, target_uri
from .record_stream import Record
from .records import Capture, RecordSpan

_TARGET_URI = re.compile(rb"(?i)\nWARC-Target-URI:[ \t]*<?([^\s>]+)")
_HEAD_BYTES = 8192  # bytes in which the header of a damaged record is looked for


def read_spans(path: Path) -> Iterator[RecordSpan]:
    """Every record of a file that has a readable header, in file order.

    A damaged record has the type corrupt, and its span ends where the next record begins.
    """
    if path.stat().st_size == 0:
        return
    if is_arc(path):
        captures = read_arc(path, None, None)
    else:
        captures = _SpanReader(path, None, None).captures()
    for capture in captures:
        if isinstance(capture, RecordSpan):
            yield capture
        elif capture.record_type != "corrupt":
            yield RecordSpan(capture.offset, capture.length, capture.record_type, capture.url, capture.date)
        elif capture.length:
            yield from _damaged_records(path, capture.offset, capture.offset + capture.length)


class _SpanReader(RecordReader):
    """Reads only the headers, of records of every type."""

    def read_record(self, record: Record) -> Capture | None:
        return RecordSpan(
            record.offset,
            0,
            record.header("warc-type"),
            target_uri(record),
            record.header("warc-date"),
            record_id=record.header("warc-record-id"),
        )


def _damaged_records(path: Path, start: int, end: int) -> Iterator[RecordSpan]:
    """The records in a corrupt stretch of a file of which at least the target URI can be read."""
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        heads = {}  # by offset
        for header in RECORD_START.finditer(data, start, end):
            heads[header.start()] = data[header.start() : header.start() + _HEAD_BYTES]
        position = start
        while (position := data.find(GZIP_MAGIC, position, end)) >= 0:
            head = inflate_until_damage(data[position : min(position + _HEAD_BYTES, end)])
            if RECORD_START.match(head):
                heads[position] = head
            position += 1
        offsets = sorted(heads)
        for offset, next_offset in zip(offsets, [*offsets[1:], end], strict=False):
            url = _TARGET_URI.search(heads[offset])
            if url:
                yield RecordSpan(offset, next_offset - offset, "corrupt", url.group(1).decode("utf-8", "replace"))
