"""`artifact.json`: the record that makes a folder an artifact. A person can read it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from .errors import CorruptArtifact
from .identity import SHORT_ID_DIGITS, artifact_key

RECORD = "artifact.json"
RECORD_VERSION = 1
_CHUNK = 1 << 20


class FileEntry(BaseModel):
    """One file of an artifact. `location` is set when the bytes live outside the store (a referenced WARC file)."""

    model_config = ConfigDict(extra="forbid")
    bytes: int
    sha256: str
    location: str | None = None


class Record(BaseModel):
    """Everything known about one artifact; written last, so that its presence means the artifact is whole.

    files: the data, which `data_version` is the digest of. views: pages and plots drawn from it, which lie beside it.
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
    # Records of version 0.1 call them parts.
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
        """What it was built from: key and data version of every artifact, name and version of every external input."""
        return [(key.removesuffix("@before"), version) for key, version in self.fields["inputs"].items()]

    @property
    def total_bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())

    def dump(self) -> bytes:
        return (json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @classmethod
    def load(cls, data: bytes, where: str) -> Record:
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
    """Digest of an artifact's content: names and bytes of its files, wherever they lie. 32 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{files[name].sha256}\n".encode())
    return digest.hexdigest()[:32]


def fsync_path(path: Path) -> None:
    """Flush a file or a folder entry to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Write so that a reader sees the old bytes or the new, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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
