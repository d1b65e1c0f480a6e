"""The contents of many small objects (records, notes), read again only if they have changed.

A listing names each object's ETag, a thousand objects a request. Contents are kept by ETag in an SQLite file of the
local folder, so that 10,000 known records cost ten requests. A machine without them reads one shared object with all,
which any machine may write: it is only a cache, and what it lacks is read one by one.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import ArtifactError
from .objects import ObjectStore, concurrently

INDEX = ".index"
LISTING_SECONDS = 10.0  # for which a listing answers further questions; a build lists again under its lock
THREADS = 32  # small reads wait for the store rather than for a core
SHARED_FROM = 200  # unknown objects: below, reading them one by one is quicker than reading all
_FILE = ".objects.sqlite"


class ObjectIndex:
    """Contents of small objects by key, below folders of one object store."""

    def __init__(self, objects: ObjectStore, cache: Path):
        self._objects, self._file = objects, cache / _FILE
        self._listings: dict[str, tuple[float, dict[str, str]]] = {}

    def etags(self, folder: str) -> dict[str, str]:
        """ETags by key, sorted. At most LISTING_SECONDS old."""
        known = self._listings.get(folder)
        if known is None or time.monotonic() - known[0] > LISTING_SECONDS:
            listing = {item.key: item.etag for item in self._objects.list(folder)}
            known = self._listings[folder] = (time.monotonic(), listing)
        return known[1]

    def forget_listing(self, folder: str) -> None:
        """List a folder again at the next question."""
        self._listings.pop(folder, None)

    def contents(self, folder: str, below: str = "") -> dict[str, bytes]:
        """The objects of a folder whose keys begin with `below`, sorted by key."""
        listing = self.etags(folder)
        if below in listing:
            wanted = {below: listing[below]}
        else:
            wanted = {key: etag for key, etag in listing.items() if key.startswith(below)}
        if not wanted:
            return {}
        with self._cache() as cache:
            contents = self._cached(cache, wanted)
            if len(wanted) - len(contents) >= SHARED_FROM:
                self._read_shared(cache, folder)
                contents = self._cached(cache, wanted)
            unknown = [key for key in wanted if key not in contents]
            read = zip(unknown, concurrently(self._objects.get, unknown, THREADS), strict=True)
            contents.update({key: data for key, data in read if data is not None})  # None: removed since the listing
            rows = [(self._objects.url, key, wanted[key], contents[key]) for key in unknown if key in contents]
            cache.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", rows)
            if len(unknown) >= SHARED_FROM and len(wanted) == len(listing):  # a part would replace the whole
                self._write_shared(folder, {key: (wanted[key], contents[key]) for key in contents})
        return {key: contents[key] for key in wanted if key in contents}

    @contextlib.contextmanager
    def _cache(self) -> Iterator[sqlite3.Connection]:
        """The cache file. One that cannot be read is replaced: it costs only time."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=60)
        try:
            try:
                self._create_table(connection)
            except sqlite3.OperationalError:  # locked, or the disk is full: the file is not damaged
                raise
            except sqlite3.DatabaseError:
                connection.close()
                self._file.unlink(missing_ok=True)
                connection = sqlite3.connect(self._file, timeout=60)
                self._create_table(connection)
            yield connection
            connection.commit()
        finally:
            connection.close()

    @staticmethod
    def _create_table(connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS objects (url TEXT, key TEXT, etag TEXT, data BLOB, PRIMARY KEY (url, key))"
        )

    def _cached(self, cache: sqlite3.Connection, wanted: dict[str, str]) -> dict[str, bytes]:
        """Contents from the cache of those objects that have not changed. The keys of `wanted` are sorted."""
        first, *_, last = (*wanted, *wanted)
        statement = "SELECT key, etag, data FROM objects WHERE url = ? AND key BETWEEN ? AND ?"
        rows = cache.execute(statement, (self._objects.url, first, last))
        return {key: data for key, etag, data in rows if wanted.get(key) == etag}

    def _read_shared(self, cache: sqlite3.Connection, folder: str) -> None:
        data = self._objects.get(_shared(folder))
        with contextlib.suppress(OSError, ValueError, EOFError):  # unreadable: everything is read one by one
            rows = [json.loads(line) for line in gzip.decompress(data or b"").splitlines()]
            values = [(self._objects.url, key, etag, text.encode()) for key, etag, text in rows]
            cache.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", values)
            cache.commit()  # other processes must not wait for what this one reads next

    def _write_shared(self, folder: str, contents: dict[str, tuple[str, bytes]]) -> None:
        lines = (json.dumps([key, etag, data.decode()]) for key, (etag, data) in contents.items())
        with contextlib.suppress(ArtifactError):  # a reader without the right to write
            self._objects.put(_shared(folder), gzip.compress("\n".join(lines).encode(), compresslevel=3))


def _shared(folder: str) -> str:
    return f"{INDEX}/{folder.strip('.')}.jsonl.gz"
