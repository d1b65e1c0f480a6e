"""The compressions of archives: gzip members, zstd frames (with or without a dictionary), and lz4."""

from __future__ import annotations

import re
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .records import WarcError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LZ4_MAGIC = b"\x04\x22\x4d\x18"
RECORD_START = re.compile(rb"WARC/[01]\.\d+\r?\n")
# Compressed bytes with which a member is probed for "WARC/": enough for the first 64 bytes of a record's header.
PROBE_BYTES = 512
_PROBED_BYTES = 64
_GZIP_WINDOW = 31  # zlib's window bits for the gzip format
_SKIPPABLE_MAGIC = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # 0x184D2A50 to 0x184D2A5F, RFC 8878, section 3.1.2
# The skippable frame that holds a file's dictionary (IIPC, "Zstandard Compression for WARC files", section 4).
_DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
_MAX_DICTIONARY_BYTES = 100 << 20


class Inflater:
    """Decompresses one member. `inflater` is the library's decompressor."""

    def __init__(self, inflater: Any) -> None:
        self._inflater = inflater

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""
        return bool(self._inflater.eof)

    @property
    def unused_data(self) -> bytes:
        """What was given and follows the member."""
        return bytes(self._inflater.unused_data)

    @property
    def needs_input(self) -> bool:
        """Whether `decompress` has used all that it was given."""
        raise NotImplementedError

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` decompressed bytes. Raises OSError for damage."""
        raise NotImplementedError


class GzipInflater(Inflater):
    """One gzip member."""

    def __init__(self) -> None:
        super().__init__(zlib.decompressobj(_GZIP_WINDOW))

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return bytes(self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length))
        except zlib.error as error:
            raise OSError(str(error)) from error


class ZstdInflater(Inflater):
    """One zstd frame."""

    def __init__(self, dictionary: Any) -> None:
        super().__init__(zstd.ZstdDecompressor(zstd_dict=dictionary))

    @property
    def needs_input(self) -> bool:
        return bool(self._inflater.needs_input)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return bytes(self._inflater.decompress(data, max_length))
        except zstd.ZstdError as error:
            raise OSError(str(error)) from error


@dataclass(frozen=True)
class Compression:
    """How a file's records are compressed. dictionary: of a zstd file that has one."""

    name: str
    dictionary: Any = None

    @property
    def magic(self) -> bytes:
        """The first bytes of a member that may hold a record."""
        return GZIP_MAGIC if self.name == "gzip" else ZSTD_MAGIC

    @property
    def is_framed(self) -> bool:
        """Whether the boundaries of members can be found; those of lz4 frames cannot."""
        return self.name != "lz4"

    def begins(self, head: bytes) -> bool:
        """Whether a member, which may be a skippable zstd frame, begins with these bytes."""
        return head.startswith(self.magic) or (self.name == "zstd" and _SKIPPABLE_MAGIC.match(head) is not None)

    def inflater(self) -> Inflater:
        return GzipInflater() if self.name == "gzip" else ZstdInflater(self.dictionary)

    def first_bytes(self, head: bytes) -> bytes:
        """The decompressed first bytes of a member of which only the beginning is given; empty if it is damaged."""
        try:
            return self.inflater().decompress(head, _PROBED_BYTES)
        except OSError:
            return b""


GZIP = Compression("gzip")


def compression_of(path: Path) -> Compression | None:
    """The compression that a file's first bytes announce; None for an uncompressed file, or one that is damaged there.

    Raises WarcError for a path or a zstd dictionary that cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(8)
            if head.startswith(GZIP_MAGIC):
                return GZIP
            if head.startswith(LZ4_MAGIC):
                return Compression("lz4")
            if head.startswith(_DICTIONARY_MAGIC) and len(head) == 8:
                return Compression("zstd", _dictionary(path, stream.read(struct.unpack("<I", head[4:])[0])))
            return Compression("zstd") if Compression("zstd").begins(head) else None
    except OSError as error:
        raise WarcError(f"{path}: {error.strerror}") from error


def _dictionary(path: Path, content: bytes) -> Any:
    """A zstd dictionary, which is a zstd frame itself where a file compresses its dictionary."""
    try:
        if content.startswith(ZSTD_MAGIC):
            content = zstd.ZstdDecompressor().decompress(content, _MAX_DICTIONARY_BYTES)
        # Bytes that do not begin with the dictionary magic are a dictionary of raw content (RFC 8878, section 5).
        return zstd.ZstdDict(content, is_raw=not content.startswith(b"\x37\xa4\x30\xec"))
    except (zstd.ZstdError, ValueError) as error:
        raise WarcError(f"{path}: its zstd dictionary cannot be read: {error}") from error
