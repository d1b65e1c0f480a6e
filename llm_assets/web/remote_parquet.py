"""Parquet files on an HTTP server as DuckDB reads them: by ranges. (Its own httpfs extension is a download.)"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

from fsspec.spec import AbstractFileSystem

from .download import ByteRange, RangeReader
from .errors import DownloadError

PROTOCOL = "ranges"
# The end of a file is read with its first request, which also tells its size. Most footers of the index fit in it, so
# that a file without a matching row group costs one request.
TAIL_BYTES = 64 << 10


class RemoteParquet(AbstractFileSystem):
    """The files below a URL, read-only. Paths are relative to it: ``ranges://cc-index/table/….parquet``.

    DuckDB reports an exception of a file system as its own Error with a traceback as its text; `failure` is the
    original one.
    """

    protocol = PROTOCOL
    cachable = False

    def __init__(self, base_url: str, reader: RangeReader):
        super().__init__()
        self.base_url, self.reader = base_url.rstrip("/"), reader
        self.failure: DownloadError | None = None
        self._tail_path, self._tail = "", ByteRange(0, b"", 0)

    def url_of(self, path: str) -> str:
        """The URL of a path."""
        return f"{self.base_url}/{self._strip_protocol(path)}"

    def tail(self, path: str) -> ByteRange:
        """The end of a file. That of the last file is kept: DuckDB opens a file several times for one statement."""
        if self._tail_path != self._strip_protocol(path):
            self._tail = self.range(path, -TAIL_BYTES, TAIL_BYTES)
            self._tail_path = self._strip_protocol(path)
        return self._tail

    def range(self, path: str, start: int, length: int) -> ByteRange:
        """Bytes of a file. Raises DownloadError, and keeps it as `failure`."""
        try:
            return self.reader.read(self.url_of(path), start, length)
        except DownloadError as error:
            self.failure = error
            raise

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Name and size of a file."""
        return {"name": self._strip_protocol(path), "size": self.tail(path).file_size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """The same for every file: what Common Crawl has published does not change."""
        return datetime(1970, 1, 1, tzinfo=UTC)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> _RemoteFile:
        return _RemoteFile(self, path)


class _RemoteFile(io.RawIOBase):
    """A file of which each read is one request, unless it is within the file's tail."""

    def __init__(self, files: RemoteParquet, path: str):
        self.files, self.path, self.position = files, path, 0
        self.tail = files.tail(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.tail.file_size}
        self.position = starts[whence] + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.tail.file_size - self.position)
        size = left if size < 0 else min(size, left)
        if size == 0:
            return b""
        if self.position >= self.tail.start:
            data = self.tail.data[self.position - self.tail.start :][:size]
        else:
            data = self.files.range(self.path, self.position, size).data
        self.position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
