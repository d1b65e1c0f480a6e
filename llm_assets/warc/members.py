"""The decompressed bytes of a file, which may consist of many compressed members."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

from .compression import GZIP, Compression, compression_of

_READ_BYTES = 1 << 16
_INFLATED_BYTES = 1 << 20  # decompressed at a time
_STEP_BYTES = 16  # `inflate_until_damage` locates damage to this many compressed bytes
_FIRST_BYTES = 64
_PATTERN_BYTES = 8  # that a match of a pattern in `read_until` is shorter than
# What may occur between two records: line breaks, and the zeros with which tapes and file systems pad.
_PADDING = b"\0\r\n"
_FILLER = re.compile(rb"[\r\n\0]*")


class Damage(OSError):
    """The file cannot be read on. offset: where in the file the damage begins, if it is known."""

    def __init__(self, problem: str, offset: int | None = None):
        super().__init__(problem)
        self.offset = offset


class MemberStream(io.RawIOBase):
    """The decompressed bytes of a file from `position` on, one gzip member or zstd frame after another.

    Empty members, and zeros and line breaks between members, are passed over: they are in files joined with ``cat`` and
    in those of bgzip, which ends every file with an empty member.

    counts_plain: offsets count decompressed bytes, not those of the file. member_start: where in the file the current
    member begins. ends_early: whether the file ends inside the current member. All reading methods raise OSError for
    damage.
    """

    def __init__(self, file: BinaryIO, position: int, compression: Compression | None, count_plain: bool = False):
        file.seek(position)
        self._file_size = os.fstat(file.fileno()).st_size if compression is None else None
        if compression is not None and compression.name == "lz4":
            from fastwarc.stream_io import Lz4Reader

            # Its frames are not told apart, so offsets count decompressed bytes.
            file, compression, position = Lz4Reader(file), None, 0
        self._file, self._compression = file, compression
        self._file_position = position  # after `_raw`
        self._raw = b""  # compressed bytes that no member has received yet
        self._inflater: Any = None  # of the current member; None between two
        self._buffer, self._used = b"", 0
        self._plain_position = 0 if compression is not None else position  # of the buffer's end
        self.counts_plain = count_plain or compression is None
        self.member_start, self._at_member_start, self.ends_early = position, True, False

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        """Decompressed bytes before the next one; in an uncompressed file, its offset."""
        return self._plain_position - len(self._buffer) + self._used

    @property
    def offset(self) -> int:
        """Where the next byte is; where its member begins, unless offsets count decompressed bytes."""
        return self.tell() if self.counts_plain else self.member_start

    @property
    def is_locatable(self) -> bool:
        """Whether reading can begin at `offset` and gives the next byte first, save for filler."""
        return self.counts_plain or self._at_member_start

    @property
    def bytes_left(self) -> int | None:
        """Of an uncompressed file, how many bytes there are from the next one on."""
        return None if self._file_size is None else self._file_size - self.tell()

    @property
    def at_end(self) -> bool:
        """Whether the file has ended."""
        return self._used == len(self._buffer) and not self._fill()

    @property
    def _member_end(self) -> int:
        """Where the last member that was read to its end, and the padding after it, end."""
        return self._file_position - len(self._raw)

    def read(self, size: int = -1) -> bytes:
        """At least one byte and at most `size`; nothing at the end of the file."""
        if self._used == len(self._buffer) and not self._fill():
            return b""
        end = len(self._buffer) if size < 0 else self._used + size
        piece = self._buffer[self._used : end]
        self._used += len(piece)
        self._at_member_start = False
        return piece

    def read_until(self, pattern: re.Pattern[bytes], limit: int) -> bytes | None:
        """The bytes up to and including a pattern; None if the file ends first, or it is not in `limit` bytes."""
        held = b""
        while True:
            if self._used == len(self._buffer) and not self._fill():
                return None
            start = len(held)
            held += self._buffer[self._used :]
            match = pattern.search(held, max(start - _PATTERN_BYTES, 0))
            if match is not None:
                self._used += match.end() - start
                self._at_member_start = False
                return held[: match.end()]
            self._used = len(self._buffer)
            if len(held) > limit:
                return None

    def skip_filler(self) -> bool:
        """Skip what may occur between two records; False at the end of the file."""
        while True:
            if self._used == len(self._buffer) and not self._fill():
                return False
            match = _FILLER.match(self._buffer, self._used)
            assert match is not None
            self._used = match.end()
            if self._used < len(self._buffer):
                return True

    def peek(self, size: int) -> bytes:
        """The next bytes, without reading them; fewer at the end of the file."""
        while len(self._buffer) - self._used < size:
            rest = self._buffer[self._used :]
            start, at_start = self.member_start, self._at_member_start
            if not self._fill():
                break
            if self.member_start != start and rest:  # the bytes continue in another member
                self.member_start, self._at_member_start = start, at_start
            self._buffer, self._used = rest + self._buffer, 0
        return self._buffer[self._used : self._used + size]

    def _fill(self) -> bool:
        """Replace the used buffer by the next bytes; False at the end of the file, where the buffer stays."""
        while True:
            if self._compression is None:
                piece = self._file.read(_READ_BYTES)
            elif self._inflater is None and not self._begin_member():
                return False
            else:
                piece = self._inflate()
                if piece is None:
                    self.ends_early = True
                    return False
            if piece:
                self._buffer, self._used = piece, 0
                self._plain_position += len(piece)
                return True
            if self._compression is None:
                return False

    def _inflate(self) -> bytes | None:
        """More bytes of the current member; None if the file ends before they do."""
        data = b""
        if self._inflater.needs_input:
            data = self._raw or self._read_raw()
            self._raw = b""
            if not data:
                return None
        piece = self._inflater.decompress(data, _INFLATED_BYTES)
        if self._inflater.eof:
            self._raw = self._inflater.unused_data
            self._inflater = None
        return piece

    def _begin_member(self) -> bool:
        """Begin the next member; False if only padding follows."""
        self._raw = self._raw.lstrip(_PADDING)
        while not self._raw:
            more = self._read_raw()
            if not more:
                return False
            self._raw = more.lstrip(_PADDING)
        while len(self._raw) < 4 and (more := self._read_raw()):
            self._raw += more
        compression = self._compression
        assert compression is not None
        if not compression.begins(self._raw):
            raise Damage(f"what follows a {compression.name} member is not another one", self._member_end)
        self.member_start, self._at_member_start = self._member_end, True
        self._inflater = compression.inflater()
        return True

    def _read_raw(self) -> bytes:
        data = self._file.read(_READ_BYTES)
        self._file_position += len(data)
        return data


def inflate_until_damage(data: bytes) -> bytes:
    """The decompressed beginning of a gzip member, up to the point where it is damaged."""
    inflater, head = GZIP.inflater(), b""
    for start in range(0, len(data), _STEP_BYTES):
        try:
            head += inflater.decompress(data[start : start + _STEP_BYTES], _INFLATED_BYTES)
        except OSError:
            break
    return head


def copy_inflated(path: Path, out: BinaryIO) -> None:
    """Decompress a file of any number of members into `out`, up to the point where it is damaged."""
    with open(path, "rb") as file:
        stream = MemberStream(file, 0, compression_of(path))
        try:
            while chunk := stream.read():
                out.write(chunk)
        except OSError:
            return


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file, decompressed; empty if they are damaged. Raises WarcError like `compression_of`."""
    compression = compression_of(path)
    with open(path, "rb") as file:
        try:
            return MemberStream(file, 0, compression).read(_FIRST_BYTES)
        except OSError:
            return b""
