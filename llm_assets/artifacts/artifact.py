"""An artifact: a record, and the files that it names."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from .errors import CorruptArtifact
from .record import RECORD, Record, write_atomic

LOCATIONS = "locations.json"


class Remote(Protocol):
    """The files of an artifact that are not, or not all, on the local disk."""

    @property
    def url(self) -> str:
        """Of the artifact."""
        ...

    def download(self, names: Iterable[str]) -> None:
        """Copy files into the artifact's folder, those that are not there."""

    def open(self, name: str) -> BinaryIO:
        """A file to read in pieces, without a copy."""
        ...

    def forget_outdated(self) -> None:
        """Remove copies that are no longer those of the record."""


@dataclass(frozen=True)
class Artifact:
    """An artifact. Its folder holds its files (of one at a URL, those that have been read) and its views."""

    folder: Path
    record: Record
    remote: Remote | None = field(default=None, compare=False, repr=False)

    @property
    def path(self) -> Path:
        """The folder with all its files."""
        if self.remote is not None:
            self.remote.download(self.record.files)
        return self.folder

    def folder_with(self, names: Container[str]) -> Path:
        """The folder with those files of the artifact that have these names. Of one at a URL, no others are copied."""
        if self.remote is not None:
            self.remote.download([name for name in self.record.files if name in names])
        return self.folder

    @property
    def location(self) -> str:
        """Its folder, or its URL."""
        return str(self.folder) if self.remote is None else self.remote.url

    @property
    def data_version(self) -> str:
        return self.record.data_version

    def file(self, name: str) -> Path:
        """Local path of one of the record's files. Raises CorruptArtifact if it is missing."""
        entry = self.record.files.get(name)
        if entry is None:
            raise CorruptArtifact(f"{self.record.key}: no file {name!r} in the record of {self.folder}")
        if self.remote is not None:
            self.remote.download([name])
        path = Path(self.locations()[name]) if entry.location is not None else self.folder / name
        if not path.exists():
            raise CorruptArtifact(
                f"{self.record.key}: {path} has disappeared; "
                f"materialise {self.record.asset} again with its source in place"
            )
        return path

    def view(self, name: str) -> Path:
        """Path of a page or plot drawn from the artifact. The file may not have been drawn yet."""
        return self.folder / name

    def open(self, name: str) -> BinaryIO:
        """One of the record's files, to read in pieces. Of a file at a URL, only these pieces are read."""
        return open(self.file(name), "rb") if self.remote is None else self.remote.open(name)

    def locations(self) -> dict[str, str]:
        """Current paths of the files outside the store, by name. They may have moved since they were recorded."""
        sidecar = self.folder / LOCATIONS
        known = {name: entry.location for name, entry in self.record.files.items() if entry.location is not None}
        if sidecar.exists():
            known.update(json.loads(sidecar.read_text()))
        return known

    def relocate(self, locations: dict[str, str]) -> None:
        """Store new paths of files outside the store. Their bytes, and so the identity, are the same."""
        if locations and locations != self.locations():
            write_atomic(self.folder / LOCATIONS, json.dumps(locations, indent=2, sort_keys=True).encode())

    def table(self, name: str) -> list[Path]:
        """The parquet files of a table, sorted by name."""
        names = self.table_files(name)
        if self.remote is not None:
            self.remote.download(names)
        return [self.file(file) for file in names]

    def table_files(self, name: str) -> list[str]:
        """Names of the parquet files of a table, sorted."""
        return [file for file in sorted(self.record.files) if file.startswith(f"{name}/") and file.endswith(".parquet")]


@lru_cache(maxsize=1 << 16)
def _load_record(path: str, modified: int, size: int) -> Record:
    """Load a record, cached while the file is unchanged: a run of 33 stages looks up 479 records."""
    return Record.load(Path(path).read_bytes(), path)


def read_artifact(folder: Path) -> Artifact | None:
    """The artifact in a local folder; None if the folder has no record."""
    record = folder / RECORD
    try:
        stat = record.stat()
        return Artifact(folder, _load_record(str(record), stat.st_mtime_ns, stat.st_size))
    except (FileNotFoundError, NotADirectoryError):
        return None


def build_order(artifact: Artifact) -> tuple[str, str]:
    return str(artifact.record.timings.get("finished_at", "")), artifact.record.identity
