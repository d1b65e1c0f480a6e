"""Finished tasks of a build at a store's URL, for workers that do not share a disk with the builder.

A worker runs a task in a folder of its own and stores its files, under their digests, where the published artifact has
them; then the task's marker, last. The builder reads the markers, publishes a record that names the files, and copies
nothing. Each builder has a folder of markers of its own, so that tasks of one that was taken over do not appear among
those of the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import ArtifactError
from .objects import ObjectStore, concurrently
from .record import FileEntry, file_digest, write_atomic
from .remote_files import download_file, file_key, upload_files
from .step import TASKS

STAGING = ".staging"
ANNOUNCED = "upload.json"
STORED = "scratch_entries"  # in the marker of a task whose files are at the URL: entries of its scratch files
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
    def objects(self) -> ObjectStore:
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
        self.objects.put(f"{self._folder}/{ANNOUNCED}", self.announcement)
        marker = json.loads((folder / TASKS / f"{name}.json").read_bytes())
        entries = {file: FileEntry(**entry) for file, entry in marker["files"].items()}
        upload_files(self.objects, self.place, folder, entries)
        scratch = {}
        for file in marker["scratch"]:
            scratch[file] = FileEntry(bytes=(folder / file).stat().st_size, sha256=file_digest(folder / file))
        upload_files(self.objects, self._folder, folder, scratch)
        # Without the process: a number that the builder, on another machine, may have too.
        stored = {**marker, "process": None, STORED: {file: entry.model_dump() for file, entry in scratch.items()}}
        self.objects.put(f"{self._tasks(self.token)}/{name}.json", json.dumps(stored, sort_keys=True).encode())

    def store_input(self, file: Path) -> tuple[str, FileEntry]:
        """Store a file of the builder's disk that tasks read; returns its key and entry."""
        entry = FileEntry(bytes=file.stat().st_size, sha256=file_digest(file))
        upload_files(self.objects, self._folder, file.parent, {file.name: entry})
        return file_key(self._folder, file.name, entry), entry

    def marker(self, name: str) -> dict[str, Any] | None:
        """The marker of a finished task; None if it is not finished."""
        data = self.objects.get(f"{self._tasks(self.token)}/{name}.json")
        return None if data is None else json.loads(data)

    def markers(self) -> dict[str, dict[str, Any]]:
        """The markers of finished tasks, by task name, sorted."""
        keys = [item.key for item in self.objects.list(self._tasks(self.token))]
        contents = concurrently(self.objects.get, keys, _READS)
        return {
            key.rsplit("/", 1)[-1].removesuffix(".json"): json.loads(data)
            for key, data in zip(keys, contents, strict=True)
            if data is not None
        }

    def save_markers(self, folder: Path) -> list[str]:
        """Write the markers into a local staging folder, from which the record is made. Files are not copied.

        Those there of tasks that are no longer stored are removed. Returns the names of the stored tasks. A task is
        not stored if one of its files is absent: a deletion that was killed may have left the marker.
        """
        markers = self.markers()
        if markers:
            listed = [*self.objects.list(f"{self.place}/files"), *self.objects.list(f"{self._folder}/files")]
            stored = {item.key: item.bytes for item in listed}
            markers = {name: marker for name, marker in markers.items() if self._is_whole(marker, stored)}
        for path in (folder / TASKS).glob("*.json"):
            if path.stem not in markers and STORED in json.loads(path.read_bytes()):
                path.unlink()
        for name, marker in markers.items():
            write_marker(folder, name, marker)
        return list(markers)

    def _is_whole(self, marker: Mapping[str, Any], stored: Mapping[str, int]) -> bool:
        """Whether all files of a task are at the URL. stored: bytes of the objects there, by key."""
        return all(
            stored.get(file_key(place, file, FileEntry(**entry))) == entry["bytes"]
            for place, entries in ((self.place, marker["files"]), (self._folder, marker[STORED]))
            for file, entry in entries.items()
            if entry.get("location") is None
        )

    def fetch(self, name: str, files: Iterable[str], folder: Path) -> None:
        """Copy files and scratch files of a finished task into a local folder, for a later task of the step.

        Raises ArtifactError if the task is not finished or has no such file.
        """
        marker = self.marker(name)
        if marker is None:
            raise ArtifactError(f"{self.url}/{self._folder}: task {name} is not finished")
        for file in files:
            is_scratch = file in marker["scratch"]
            entries = marker[STORED] if is_scratch else marker["files"]
            if file not in entries:
                raise ArtifactError(f"{self.url}/{self._folder}: task {name} has no file {file}")
            entry = FileEntry(**entries[file])
            key = file_key(self._folder if is_scratch else self.place, file, entry)
            download_file(self.objects, key, entry, folder / file)

    def take_over(self) -> list[str]:
        """Take over the tasks that earlier builders have finished until now.

        Returns the keys of their markers, which may be removed then.
        """
        folders = [item.key.removeprefix(f"{self._folder}/").split("/") for item in self.objects.list(self._folder)]
        markers = [(names[0], names[2]) for names in folders if len(names) == 3 and names[1] == _MARKERS]
        # Sorted: of a task that several builders have finished, the last one's marker is taken.
        latest = {name: token for token, name in markers if token <= self.token}

        def copy(name: str) -> None:
            data = self.objects.get(f"{self._tasks(latest[name])}/{name}")
            if data is not None:
                self.objects.put(f"{self._tasks(self.token)}/{name}", data)

        concurrently(copy, [name for name, token in latest.items() if token != self.token], _READS)
        return [f"{self._tasks(token)}/{name}" for token, name in markers if token < self.token]

    def _tasks(self, token: str) -> str:
        return f"{self._folder}/{token}/{_MARKERS}"


def write_marker(folder: Path, name: str, marker: dict[str, Any]) -> None:
    """Write the marker of a stored task into a local staging folder.

    Its files may be there. Those with other bytes, such as half a file of a build that was killed on this machine, are
    removed.
    """
    for file, entry in {**marker["files"], **marker[STORED]}.items():
        path = folder / file
        is_copy = path.is_file() and path.stat().st_size == entry["bytes"] and file_digest(path) == entry["sha256"]
        if not is_copy:
            path.unlink(missing_ok=True)
    write_atomic(folder / TASKS / f"{name}.json", json.dumps(marker, sort_keys=True).encode())
