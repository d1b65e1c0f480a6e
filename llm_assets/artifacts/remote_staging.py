"""Finished tasks of a build at a store's URL, for workers that do not share a disk with the builder.

A worker runs a task in a folder of its own and stores its files, under their digests, where the published artifact has
them; then the task's marker, last. The builder reads the markers, publishes a record that names the files, and copies
nothing. Each builder has a folder of markers of its own, so that tasks of one that was taken over do not appear among
those of the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import ArtifactError
from .objects import ObjectStore
from .record import FileEntry, file_digest, write_atomic
from .remote_files import download_file, file_key, upload_files
from .step import TASKS

STAGING = ".staging"
ANNOUNCED = "upload.json"
_MARKERS = "tasks"
_READS = 16  # markers at a time


@dataclass(frozen=True)
class RemoteStaging:
    """The finished tasks of one builder. It can be sent to workers, which have the credentials of the store.

    place: ``<asset>/<partition>/<short identity>``. token: of the builder's lease. announcement: which artifact this
    is; garbage collection finds by it what is left here.
    """

    url: str
    place: str
    token: str
    announcement: bytes

    @cached_property
    def _objects(self) -> ObjectStore:
        return ObjectStore(self.url)

    def __reduce__(self) -> tuple[type, tuple[str, str, str, bytes]]:
        return RemoteStaging, (self.url, self.place, self.token, self.announcement)  # without the client

    @property
    def _folder(self) -> str:
        return f"{STAGING}/{self.place}"

    def store_task(self, folder: Path, name: str) -> None:
        """Store a task that has been finished in a local folder: its files and scratch files, then its marker.

        It is announced before, because the builder may have ended and removed its announcement since.
        """
        self._objects.put(f"{self._folder}/{ANNOUNCED}", self.announcement)
        marker = json.loads((folder / TASKS / f"{name}.json").read_bytes())
        entries = {file: FileEntry(**entry) for file, entry in marker["files"].items()}
        upload_files(self._objects, self.place, folder, entries)
        scratch = {}
        for file in marker["scratch"]:
            scratch[file] = FileEntry(bytes=(folder / file).stat().st_size, sha256=file_digest(folder / file))
        upload_files(self._objects, self._folder, folder, scratch)
        stored = {**marker, "scratch_entries": {file: entry.model_dump() for file, entry in scratch.items()}}
        self._objects.put(f"{self._tasks(self.token)}/{name}.json", json.dumps(stored, sort_keys=True).encode())

    def markers(self) -> dict[str, dict[str, Any]]:
        """The markers of finished tasks, by task name, sorted."""
        keys = [item.key for item in self._objects.list(self._tasks(self.token))]
        with ThreadPoolExecutor(_READS) as pool:
            contents = list(pool.map(self._objects.get, keys))
        return {
            key.rsplit("/", 1)[-1].removesuffix(".json"): json.loads(data)
            for key, data in zip(keys, contents, strict=True)
            if data is not None
        }

    def save_markers(self, folder: Path) -> None:
        """Write the markers into a local staging folder, from which the record is made. Files are not copied."""
        for name, marker in self.markers().items():
            write_atomic(folder / TASKS / f"{name}.json", json.dumps(marker, sort_keys=True).encode())

    def fetch(self, name: str, files: Iterable[str], folder: Path) -> None:
        """Copy files and scratch files of a finished task into a local folder, for a later task of the step.

        Raises ArtifactError if the task is not finished or has no such file.
        """
        data = self._objects.get(f"{self._tasks(self.token)}/{name}.json")
        if data is None:
            raise ArtifactError(f"{self.url}/{self._folder}: task {name} is not finished")
        marker = json.loads(data)
        for file in files:
            is_scratch = file in marker["scratch"]
            entries = marker["scratch_entries"] if is_scratch else marker["files"]
            if file not in entries:
                raise ArtifactError(f"{self.url}/{self._folder}: task {name} has no file {file}")
            entry = FileEntry(**entries[file])
            key = file_key(self._folder if is_scratch else self.place, file, entry)
            download_file(self._objects, key, entry, folder / file)

    def take_over(self) -> None:
        """Take over the tasks that earlier builders have finished until now."""
        for item in self._objects.list(self._folder):
            parts = item.key.removeprefix(f"{self._folder}/").split("/")
            if len(parts) == 3 and parts[1] == _MARKERS and parts[0] != self.token:
                data = self._objects.get(item.key)
                if data is not None:
                    self._objects.put(f"{self._tasks(self.token)}/{parts[2]}", data)

    def _tasks(self, token: str) -> str:
        return f"{self._folder}/{token}/{_MARKERS}"
