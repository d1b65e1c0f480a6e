"""Copies of stored files on a worker's disk, shared by all workers of a machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_assets.settings import gigabytes

from .errors import ArtifactError
from .objects import ObjectStore, concurrently
from .record import FileEntry, data_version
from .remote_files import download_file

FOLDER = "LLM_ASSETS_WORKER_CACHE"
LIMIT = "LLM_ASSETS_WORKER_CACHE_GB"
DEFAULT_BYTES = 20_000_000_000
_LOCKS = ".locks"
_TASK = "task-"  # folders of running tasks
_DOWNLOADS = 8  # files at a time
UNUSED_SECONDS = 86_400.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class StoredFiles:
    """A file, or the files of a folder, at a store's URL.

    name: of the file; empty for a folder. files: name below the folder, key and entry of each file.
    """

    name: str
    files: tuple[tuple[str, str, FileEntry], ...]

    @property
    def digest(self) -> str:
        """Of names and bytes: 32 hex digits."""
        return data_version({name: entry for name, _, entry in self.files})


class InputCache:
    """A folder of copies. Those read least recently are removed when all exceed `limit` bytes.

    A copy that nothing has read for UNUSED_SECONDS is removed by the next task that downloads: pages that were taken
    down must not stay. Each copy, and each folder in which a task runs, has a lock, which the kernel releases when a
    worker is killed. A copy that a running task reads is not removed, and neither is the folder of a running task.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit

    @classmethod
    def from_environment(cls) -> InputCache:
        """The cache of this machine: LLM_ASSETS_WORKER_CACHE, or else a folder among the temporary ones, with at most
        LLM_ASSETS_WORKER_CACHE_GB. Raises ValueError if that is not a positive number."""
        folder = os.environ.get(FOLDER) or Path(tempfile.gettempdir()) / f"llm-assets-{os.getuid()}"
        return cls(Path(folder), gigabytes(LIMIT) or DEFAULT_BYTES)

    @contextlib.contextmanager
    def task_folder(self) -> Iterator[Path]:
        """An empty folder, which is removed at the end, or by a later task if this process is killed."""
        name = f"{_TASK}{secrets.token_hex(8)}"
        with self._locked(name, fcntl.LOCK_EX):
            (self.folder / name).mkdir()
            try:
                yield self.folder / name
            finally:
                self._remove(name)

    @contextlib.contextmanager
    def copy(self, objects: ObjectStore, stored: StoredFiles) -> Iterator[Path]:
        """The path of a copy, which stays while it is used. Raises ArtifactError if it cannot be downloaded."""
        folder = self.folder / stored.digest
        while True:
            with self._locked(stored.digest, fcntl.LOCK_SH) as lock:
                if all((folder / name).exists() for name, _, _ in stored.files):
                    os.utime(lock)
                    folder.mkdir(exist_ok=True)  # of a folder without files
                    yield folder / stored.name
                    return
            # Without waiting: a worker that has just downloaded it may read it for hours, and others after it.
            try:
                with self._locked(stored.digest, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    missing = [file for file in stored.files if not (folder / file[0]).exists()]
                    concurrently(lambda file: _download(objects, *file, folder), missing, _DOWNLOADS)
                    self._prune()
            except BlockingIOError:
                time.sleep(random.uniform(0, 2 * _POLL_SECONDS))

    @contextlib.contextmanager
    def _locked(self, name: str, kind: int) -> Iterator[int]:
        """Hold the lock of a folder; yields its descriptor. Raises BlockingIOError if `kind` says not to wait."""
        path = self.folder / _LOCKS / name
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(lock, kind)
                if _is_at(lock, path):  # else another process removed it while this one waited
                    yield lock
                    return
            finally:
                os.close(lock)

    def _remove(self, name: str) -> None:
        """Remove a folder and its lock, which the caller holds."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / _LOCKS / name).unlink(missing_ok=True)

    def _prune(self) -> None:
        """Remove folders of killed tasks and unused copies, and those used least recently until the rest fits."""
        locks = {}
        for path in (self.folder / _LOCKS).iterdir():
            with contextlib.suppress(FileNotFoundError):  # removed by another worker
                locks[path.name] = path.stat().st_mtime
        sizes = {name: 0 if name.startswith(_TASK) else _folder_bytes(self.folder / name) for name in locks}
        excess, oldest = sum(sizes.values()) - self.limit, time.time() - UNUSED_SECONDS
        for name in sorted(locks, key=lambda name: (not name.startswith(_TASK), locks[name])):
            if excess <= 0 and not name.startswith(_TASK) and locks[name] > oldest:
                break
            with contextlib.suppress(BlockingIOError), self._locked(name, fcntl.LOCK_EX | fcntl.LOCK_NB):
                self._remove(name)
                excess -= sizes[name]


def _download(objects: ObjectStore, name: str, key: str, entry: FileEntry, folder: Path) -> None:
    try:
        download_file(objects, key, entry, folder / name)
    except FileNotFoundError as error:
        raise ArtifactError(f"{objects.url}/{key}: is missing, but a task reads it; run again") from error


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a download that has just ended, or was removed
            total += path.lstat().st_size
    return total
