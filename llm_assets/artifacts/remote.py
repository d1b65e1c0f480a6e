"""A store on any fsspec URL (``s3://bucket/prefix``), with a local folder as its cache.

Builds happen in the local folder. Publishing uploads the data under a unique name (``data-<nonce>``), then the record
that refers to it. Two machines that build the same artifact therefore never mix their files. Reading downloads a whole
artifact once.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from .errors import CorruptArtifact, StoreUnwritable
from .identity import Identity
from .record import RECORD, Record, file_digest, fsync_path
from .store import NO_PARTITION, RECIPES, Artifact, Store

_POINTER = "artifact.json"


class RemoteStore(Store):
    """A store at `url`. Builds and reads go through the local folder `cache`."""

    def __init__(self, url: str, cache: Path | str):
        super().__init__(cache)
        self.url = url.rstrip("/")
        self.fs, self.base = fsspec.core.url_to_fs(self.url)

    def _remote(self, relative: str) -> str:
        return f"{self.base}/{relative}"

    def lookup(self, identity: Identity) -> Artifact | None:
        local = super().lookup(identity)
        if local is not None:
            return local
        return self._fetch(f"{identity.asset}/{identity.partition or NO_PARTITION}/{identity.short_id}")

    def _fetch(self, relative: str) -> Artifact | None:
        """Download the artifact at a path below the root. Raises CorruptArtifact if a file differs from the record."""
        pointer = f"{self._remote(relative)}/{_POINTER}"
        if not self.fs.exists(pointer):
            return None
        envelope = json.loads(self.fs.cat_file(pointer))
        record = Record.model_validate(envelope["record"])
        staging = self.root / ".staging" / f".fetch-{os.getpid()}-{secrets.token_hex(4)}"
        staging.mkdir(parents=True)
        try:
            for name, entry in record.files.items():
                if entry.location is not None:
                    continue
                target = staging / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{self._remote(relative)}/{envelope['data']}/{name}", str(target))
                if file_digest(target) != entry.sha256:
                    raise CorruptArtifact(f"{self.url}/{relative}/{name}: the bytes are not those of its record")
            (staging / RECORD).write_bytes(record.dump())
            final = self.root / relative
            final.parent.mkdir(parents=True, exist_ok=True)
            if not final.exists():
                os.rename(staging, final)
                fsync_path(final.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return self._read(self.root / relative)

    def publish(self, identity: Identity, staging: Path, record: Record) -> Artifact:
        artifact = super().publish(identity, staging, record)
        relative = str(artifact.path.relative_to(self.root))
        if not self.fs.exists(f"{self._remote(relative)}/{_POINTER}"):
            self._upload(artifact)
        return artifact

    def _upload(self, artifact: Artifact) -> None:
        """Upload the data under a unique name, then the record that refers to it. Raises StoreUnwritable."""
        relative, record = str(artifact.path.relative_to(self.root)), artifact.record
        pointer = f"{self._remote(relative)}/{_POINTER}"
        data = f"data-{secrets.token_hex(8)}"
        try:
            for name, entry in record.files.items():
                if entry.location is None:
                    target = f"{self._remote(relative)}/{data}/{name}"
                    self.fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                    self.fs.put_file(str(artifact.path / name), target)
            self.fs.makedirs(self._remote(relative), exist_ok=True)
            self.fs.pipe_file(
                pointer,
                json.dumps({"data": data, "record": record.model_dump(mode="json")}, sort_keys=True).encode(),
            )
        except OSError as error:
            raise StoreUnwritable(
                f"cannot upload {record.key} to {self.url}: {error}; it is complete in {artifact.path}; "
                "run again to upload it"
            ) from error

    def replace(self, before: Artifact, now: Artifact) -> Artifact:
        """Upload an artifact that was changed in place, and remove its earlier upload. Safe to repeat."""
        place = self._remote(str(now.path.relative_to(self.root)))
        if self._uploaded_record(place) != now.record.model_dump(mode="json"):
            self._upload(now)
        data = json.loads(self.fs.cat_file(f"{place}/{_POINTER}"))["data"]
        outdated = [
            path for path in self.fs.ls(place, detail=False) if str(path).rsplit("/", 1)[-1] not in (_POINTER, data)
        ]
        moved_from = self._remote(str(before.path.relative_to(self.root)))
        if before.path != now.path and self.fs.exists(moved_from):
            outdated.append(moved_from)
        for path in outdated:
            self.fs.rm(path, recursive=True)
        return super().replace(before, now)

    def _uploaded_record(self, place: str) -> dict[str, Any] | None:
        pointer = f"{place}/{_POINTER}"
        return json.loads(self.fs.cat_file(pointer))["record"] if self.fs.exists(pointer) else None

    def artifacts(self, asset: str | None = None, partition: str | None = None) -> Iterator[Artifact]:
        """Local and remote artifacts. Those that are only at the URL are downloaded."""
        pattern = f"{glob.escape(self.base)}/{asset or '*'}/{partition or '*'}/*/{_POINTER}"
        for pointer in sorted(self.fs.glob(pattern)):
            relative = "/".join(str(pointer).rsplit("/", 4)[-4:-1])
            if not (self.root / relative).exists():
                self._fetch(relative)
        yield from super().artifacts(asset, partition)

    def _note(self, name: str, note: bytes) -> None:
        """Write a note about a recipe, at the URL too: garbage collection on every machine respects it."""
        self.fs.makedirs(self._remote(name).rsplit("/", 1)[0], exist_ok=True)
        self.fs.pipe_file(self._remote(name), note)
        super()._note(name, note)

    def _notes(self) -> dict[str, str]:
        folder = self._remote(RECIPES)
        self.fs.invalidate_cache()  # other machines write notes too
        names = self.fs.find(folder)
        notes = self.fs.cat(names) if names else {}
        return {path[path.rindex(f"{RECIPES}/") :]: note.decode() for path, note in sorted(notes.items())}

    def forget_recipe(self, recipe: str) -> None:
        folder = self._remote(f"{RECIPES}/{recipe}")
        if self.fs.exists(folder):
            self.fs.rm(folder, recursive=True)
        super().forget_recipe(recipe)

    def delete(self, artifact: Artifact) -> None:
        relative = str(artifact.path.relative_to(self.root))
        remote = self._remote(relative)
        if self.fs.exists(f"{remote}/{_POINTER}"):
            self.fs.rm_file(f"{remote}/{_POINTER}")
            self.fs.rm(remote, recursive=True)
        super().delete(artifact)


def open_store(url: str | Path, cache: Path | None = None) -> Store:
    """Open the store at a folder or fsspec URL. A remote store keeps its local copies in `cache`."""
    text = str(url)
    if "://" not in text:
        return Store(text)
    if text.startswith("file://"):
        return Store(text.removeprefix("file://"))
    return RemoteStore(text, cache or Path.home() / ".cache" / "llm-assets")
