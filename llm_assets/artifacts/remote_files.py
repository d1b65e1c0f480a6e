"""The files of artifacts at a store's URL, and their copies in the local folder."""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydantic import BaseModel

from .artifact import read_artifact
from .errors import CorruptArtifact, clear_disk_errors
from .objects import ObjectStore, RangeFile, concurrently
from .record import RECORD, FileEntry, Record, file_digest, write_atomic
from .store import NO_PARTITION

if TYPE_CHECKING:
    from .remote import RemoteStore

RECORDS = ".records"
_DOWNLOADS = 8  # files at a time
_LISTED_SINGLY = 8  # files, up to which each is looked for by its digest
_UPLOADS = 4  # files at a time; a large one is sent in four parts at a time
_RANGE_BUFFER = 1 << 20


def record_key(place: str) -> str:
    return f"{RECORDS}/{place}.json"


def new_record_object(record: Record) -> tuple[str, bytes]:
    """The key and the bytes of the object that makes an artifact exist."""
    place = f"{record.asset}/{record.partition or NO_PARTITION}/{record.short_id}"
    return record_key(place), StoredRecord(record=record).dump()


class StoredRecord(BaseModel):
    """The object that makes an artifact exist.

    data: the folder of its files below the artifact, in a store of version 0.1; now they are under digests.
    """

    record: Record
    data: str = ""

    def dump(self) -> bytes:
        """Its bytes, of a record whose files are under digests."""
        return json.dumps({"record": self.record.model_dump(mode="json")}, sort_keys=True).encode()


def file_key(place: str, name: str, entry: FileEntry) -> str:
    """The key of a file of an artifact. `place` is ``<asset>/<partition>/<short identity>``."""
    return f"{place}/files/{entry.sha256[:16]}/{name}"


def check_files(folder: Path, files: Mapping[str, FileEntry]) -> None:
    """Read the files of a local artifact. Raises CorruptArtifact for one that is missing or has other bytes."""
    for name, entry in files.items():
        path = folder / name
        if entry.location is None and not (path.is_file() and file_digest(path) == entry.sha256):
            problem = "its bytes are not those of its record" if path.is_file() else "is missing"
            raise CorruptArtifact(f"{path}: {problem}; remove the folder {folder} to rebuild it")


def upload_files(objects: ObjectStore, place: str, folder: Path, files: Mapping[str, FileEntry]) -> None:
    """Store files of an artifact that are not there yet. Raises CorruptArtifact if one is in neither place."""
    folders = {f"{place}/files"}
    if len(files) <= _LISTED_SINGLY:  # of a task: its artifact may have a hundred thousand files
        folders = {file_key(place, "", entry).rstrip("/") for entry in files.values() if entry.location is None}
    stored = {item.key: item.bytes for folder in folders for item in objects.list(folder)}
    missing = {
        file_key(place, name, entry): folder / name
        for name, entry in files.items()
        if entry.location is None and stored.get(file_key(place, name, entry)) != entry.bytes
    }
    absent = [path for path in missing.values() if not path.is_file()]
    if absent:
        raise CorruptArtifact(f"{absent[0]}: is neither here nor at {objects.url}; build the artifact again")
    concurrently(lambda key: objects.upload(missing[key], key), missing, _UPLOADS)


def download_file(objects: ObjectStore, key: str, entry: FileEntry, target: Path) -> None:
    """Copy a file that appears when it is whole. Raises FileNotFoundError, and CorruptArtifact for other bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        objects.download(key, entry.bytes, temporary)
        if file_digest(temporary) != entry.sha256:
            raise CorruptArtifact(f"{objects.url}/{key}: the bytes are not those of its record")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


class RemoteFiles:
    """The files of one artifact at the URL, and their copies in the local folder."""

    def __init__(self, store: RemoteStore, place: str, stored: StoredRecord):
        self._objects, self._place = store.objects, place
        self._record, self._data = stored.record, stored.data
        self._folder = store.root / place
        self._is_current = False

    @property
    def url(self) -> str:
        return f"{self._objects.url}/{self._place}"

    def download(self, names: Iterable[str]) -> None:
        """Copy files into the local folder, those that are not there. Raises CorruptArtifact."""
        self.forget_outdated()
        entries = {name: self._record.files[name] for name in names}
        missing = {
            name: entry
            for name, entry in entries.items()
            if entry.location is None and not (self._folder / name).exists()
        }
        if not missing:
            return
        with clear_disk_errors(self._folder):
            if not (self._folder / RECORD).exists():
                write_atomic(self._folder / RECORD, self._record.dump())
            concurrently(lambda name: self._download(name, missing[name]), missing, _DOWNLOADS)

    def open(self, name: str) -> BinaryIO:
        """A file to read, without a local copy: reads become requests for ranges."""
        self.forget_outdated()
        entry, path = self._record.files[name], self._folder / name
        if entry.location is not None or path.exists():
            return open(entry.location or path, "rb")
        key = self._key(name, entry)
        return io.BufferedReader(RangeFile(self._objects, key, entry.bytes, lambda: self._missing(key)), _RANGE_BUFFER)

    def forget_outdated(self) -> None:
        """Remove local copies that are no longer those of the record, which a takedown on another machine changed."""
        local = None if self._is_current else read_artifact(self._folder)
        if local is not None and local.record != self._record:
            with clear_disk_errors(self._folder):
                for name, entry in local.record.files.items():
                    if entry != self._record.files.get(name):
                        (self._folder / name).unlink(missing_ok=True)
                write_atomic(self._folder / RECORD, self._record.dump())
        self._is_current = True

    def key(self, name: str) -> str:
        """The key of a file."""
        return self._key(name, self._record.files[name])

    def keys(self) -> set[str]:
        """The keys of the files."""
        return set(map(self.key, self._record.files))

    def _key(self, name: str, entry: FileEntry) -> str:
        return f"{self._place}/{self._data}/{name}" if self._data else file_key(self._place, name, entry)

    def _download(self, name: str, entry: FileEntry) -> None:
        key = self._key(name, entry)
        try:
            download_file(self._objects, key, entry, self._folder / name)
        except FileNotFoundError as error:
            raise self._missing(key) from error

    def _missing(self, key: str) -> CorruptArtifact:
        store = self._objects.url
        return CorruptArtifact(f"{store}/{key}: is missing; delete {store}/{record_key(self._place)} to rebuild it")
