"""`artifact.json`: the record that makes a folder an artifact, as readable JSON."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from .errors import CorruptArtifact
from .identity import PREDECESSOR, SHORT_ID_DIGITS, artifact_key

RECORD = "artifact.json"
RECORD_VERSION = 1
_CHUNK = 1 << 20


class FileEntry(BaseModel):
    """A file of an artifact. `location` is set if the file is outside the store (a referenced WARC file)."""

    model_config = ConfigDict(extra="forbid")
    bytes: int
    sha256: str
    location: str | None = None


class Record(BaseModel):
    """Everything known about an artifact. It is written last, so its presence means that the artifact is whole.

    fields: the fields of the identity, as they were at the build: fields and tables that have been renamed since keep
    their old names here. files: the data; `data_version` is their digest. views: pages and plots drawn from the data,
    stored beside it. rows, schemas: row counts and column types (as text), by table. tasks: rows and timings, by task.
    source: digests of the source files that the build used, by module. versions: of Python and the stage's libraries.
    """

    model_config = ConfigDict(extra="forbid")
    record_version: int = RECORD_VERSION
    asset: str
    partition: str | None
    identity: str
    fields: dict[str, Any]
    data_version: str
    files: dict[str, FileEntry]
    views: list[str] = Field(default_factory=list)
    rows: dict[str, int] = Field(default_factory=dict)
    schemas: dict[str, dict[str, str]] = Field(default_factory=dict)
    stats: dict[str, Any] = Field(default_factory=dict)
    # Records of version 0.1 call this field `parts`.
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict, validation_alias=AliasChoices("tasks", "parts"))
    source: dict[str, str] = Field(default_factory=dict)
    timings: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    mlflow_run_id: str | None = None
    dagster_run_id: str | None = None
    adopted: bool = False

    @property
    def short_id(self) -> str:
        return self.identity[:SHORT_ID_DIGITS]

    @property
    def key(self) -> str:
        return artifact_key(self.asset, self.partition)

    @property
    def inputs(self) -> list[tuple[str, str]]:
        """What it was built from: (key, data version) of every artifact, (name, version) of every external input."""
        return [(key.removesuffix(PREDECESSOR), version) for key, version in self.fields["inputs"].items()]

    @property
    def total_bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())

    def has_files_of(self, other: Record) -> bool:
        """Whether another artifact of the same identity has the same files, byte for byte."""
        digests, others = ({name: file.sha256 for name, file in record.files.items()} for record in (self, other))
        return self.identity == other.identity and digests == others

    def dump(self) -> bytes:
        """The record as indented JSON with sorted keys."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @classmethod
    def load(cls, data: bytes, where: str) -> Record:
        """Read a record. Raises CorruptArtifact; `where` is the file that the message names."""
        try:
            return cls.model_validate_json(data)
        except ValueError as error:
            raise CorruptArtifact(
                f"{where}: not a readable artifact record ({error}); remove the folder to rebuild it"
            ) from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def data_version(files: dict[str, FileEntry]) -> str:
    """Digest (32 hex digits) of an artifact's content: the names and bytes of its files, wherever they are stored."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{files[name].sha256}\n".encode())
    return digest.hexdigest()[:32]


def fsync_path(path: Path) -> None:
    """Flush a file or folder to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)
