"""Gzip members that may be damaged: their beginnings, and streams that end where the damage begins."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b\x08"
# Compressed bytes with which a gzip member is probed for "WARC/": enough for the first 64 bytes of a record's header.
PROBE_BYTES = 512
_PROBED_BYTES = 64
_GZIP_WINDOW = 31  # zlib's window bits for the gzip format
_READ_BYTES = 65_536
_STEP_BYTES = 16  # damage is located to this many compressed bytes


def gzip_inflater() -> zlib._Decompress:
    return zlib.decompressobj(_GZIP_WINDOW)


def probe(head: bytes) -> bytes:
    """The first bytes of a file or gzip member, decompressed if they are compressed; empty if they are damaged."""
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return gzip_inflater().decompress(head, _PROBED_BYTES)
    except zlib.error:
        return b""


def inflate_until_damage(data: bytes) -> bytes:
    """The decompressed beginning of a gzip member, up to the point where it is damaged."""
    inflater, head = gzip_inflater(), b""
    for start in range(0, len(data), _STEP_BYTES):
        try:
            head += inflater.decompress(data[start : start + _STEP_BYTES])
        except zlib.error:
            break
    return head


def copy_inflated(path: Path, out: BinaryIO) -> None:
    """Decompress a gzip file of one member into `out`, up to the point where it is damaged."""
    with open(path, "rb") as file:
        stream = InflatedStream(file)
        while chunk := stream.read():
            out.write(chunk)


class InflatedStream(io.RawIOBase):
    """The decompressed bytes of a gzip file, up to the point where it is damaged.

    problem: how the stream ended, unless it ended well.
    """

    def __init__(self, stream: BinaryIO):
        self._stream, self._inflater, self._position = stream, gzip_inflater(), 0
        self._buffer = b""
        self.problem: str | None = None

    def read(self, size: int = -1) -> bytes:
        while not self._buffer and self.problem is None and not self._inflater.eof:
            chunk = self._stream.read(_READ_BYTES)
            if not chunk:
                self.problem = "the gzip stream ends early"
                break
            try:
                self._buffer = self._inflater.decompress(chunk)
            except zlib.error as error:
                self.problem = str(error)
        data = self._buffer if size < 0 else self._buffer[:size]
        self._buffer = self._buffer[len(data) :]
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True
