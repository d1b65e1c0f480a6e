"""Tasks on machines without the builder's disk.

A task travels as its function and its arguments, in which every path is replaced by what a worker needs to fetch the
file from the store's URL. The worker fetches its inputs, runs the function in a folder of its own, and stores what it
has written (`remote_staging`). The functions of stages are the same on one machine and on many.

Pickle carries functions and arguments from the builder to its workers, as it does to processes on one machine; nothing
that is stored or downloaded is unpickled.
"""

from __future__ import annotations

import importlib.metadata
import io
import pickle
import platform
import socket
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DISK_ERRORS, ArtifactError, CodeDiffers, StoreUnwritable
from .input_cache import InputCache, StoredFiles
from .inputs import Inputs
from .objects import concurrently
from .record import FileEntry
from .remote_files import RemoteFiles
from .remote_staging import STORED, RemoteStaging, write_marker
from .source import package_digest
from .step import Engine

_FETCHES = 8  # tasks whose files the builder copies at a time
_UPLOADS = 4  # tasks whose inputs the builder stores at a time, ahead of their submission
TABLE_LIBRARIES = ("numpy", "polars", "pyarrow")  # of every task that writes a table, named by its stage or not


def code_versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of libraries, and a digest of this package: what decides the bytes of a task's files."""
    return {"python": platform.python_version(), **library_versions(libraries), "llm_assets": package_digest()}


def library_versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of installed libraries, by name; ``none`` for one that is missing."""
    versions = {}
    for name in libraries:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions


@dataclass(frozen=True)
class RemoteTask:
    """A task for a worker. call: the pickled function and arguments. versions: `code_versions` of the builder."""

    name: str
    call: bytes
    staging: RemoteStaging
    versions: Mapping[str, str]


def run_remote_task(task: RemoteTask) -> None:
    """Worker: run a task, and store its files and its marker.

    Raises CodeDiffers if this machine's code is not the builder's, and any error of the task.
    """
    _require_versions(task.versions)
    cache = InputCache.from_environment()
    with _clear_disk_errors(cache.folder), ExitStack() as inputs, cache.task_folder() as folder:
        work, arguments = _Reader(
            task.call, lambda stored: inputs.enter_context(cache.copy(task.staging.objects, stored))
        ).load()
        work(folder, task.name, *arguments)
        task.staging.store_task(folder, task.name)


@contextmanager
def _clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turn write errors of a worker's disk into StoreUnwritable, which names the machine and the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise StoreUnwritable(
                f"the worker on {socket.gethostname()} cannot write to {folder}: {error.strerror}. Nothing was "
                "published, and finished tasks are kept; free space there, or set LLM_ASSETS_WORKER_CACHE to another "
                "folder before Ray starts, then run again"
            ) from error
        raise


def _require_versions(builder: Mapping[str, str]) -> None:
    here = code_versions(name for name in builder if name not in ("python", "llm_assets"))
    differing = [f"{name} {here[name]}, not {version}" for name, version in builder.items() if here[name] != version]
    if differing:
        raise CodeDiffers(
            f"the worker on {socket.gethostname()} has other code than the builder, and could write other bytes: "
            f"{'; '.join(differing)}. Install the same on every machine"
        )


class _Writer(pickle.Pickler):
    """Writes arguments with `StoredFiles` in place of paths."""

    def __init__(self, stream: io.BytesIO, stored: Callable[[Path], StoredFiles]):
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._stored = stored

    def persistent_id(self, value: Any) -> StoredFiles | None:
        return self._stored(value) if isinstance(value, Path) else None


class _Reader(pickle.Unpickler):
    """Reads arguments, with the path of a local copy in place of each `StoredFiles`."""

    def __init__(self, data: bytes, copy: Callable[[StoredFiles], Path]):
        super().__init__(io.BytesIO(data))
        self._copy = copy

    def persistent_load(self, stored: StoredFiles) -> Path:
        return self._copy(stored)


class RemoteTasks:
    """A build's tasks on workers without this machine's disk.

    staging: where the workers store them. folder: the build's local folder. libraries: names of those that tasks use.
    """

    def __init__(self, staging: RemoteStaging, folder: Path, inputs: Inputs, libraries: Iterable[str]):
        self._staging, self._folder, self._inputs = staging, folder, inputs
        self._versions = code_versions(sorted({*libraries, *TABLE_LIBRARIES}))
        self._stored: dict[Path, Future[StoredFiles]] = {}
        self._storing = threading.Lock()

    def finished(self) -> Collection[str]:
        """Names of the finished tasks; their markers are written into the local folder."""
        return self._staging.save_markers(self._folder)

    def save_marker(self, name: str) -> dict[str, Any] | None:
        """The marker of a task, written into the local folder; None if the task is not finished."""
        marker = self._staging.marker(name)
        if marker is not None:
            write_marker(self._folder, name, marker)
        return marker

    def run(
        self, engine: Engine, work: Callable[..., None], tasks: Mapping[str, tuple], sizes: Mapping[str, int]
    ) -> Generator[str]:
        """As `engine.run`, on workers. Files of this disk that tasks read are stored ahead of their submission."""
        with ThreadPoolExecutor(_UPLOADS) as pool:
            calls = _Calls(tasks, lambda name: (self._task(work, name, tasks[name]),), pool)
            try:
                yield from engine.run(run_remote_task, calls, sizes)
            finally:
                pool.shutdown(cancel_futures=True)

    def fetch(self, markers: Mapping[str, Mapping[str, Any]], below: str) -> None:
        """Copy files of finished tasks into the local folder: those whose names begin with `below`."""

        def copy(name: str) -> None:
            files = [*markers[name]["files"], *markers[name]["scratch"]]
            missing = [file for file in files if file.startswith(below) and not (self._folder / file).exists()]
            if missing:
                self._staging.fetch(name, missing, self._folder)

        concurrently(copy, [name for name, marker in markers.items() if STORED in marker], _FETCHES)

    def _task(self, work: Callable[..., None], name: str, arguments: tuple) -> RemoteTask:
        stream = io.BytesIO()
        _Writer(stream, self._stored_files).dump((work, arguments))
        return RemoteTask(name, stream.getvalue(), self._staging, self._versions)

    def _stored_files(self, path: Path) -> StoredFiles:
        """What a worker needs to fetch a file or folder. One that is not an input artifact's is stored first, once.

        Raises ArtifactError for a path that is neither.
        """
        with self._storing:
            is_new = path not in self._stored
            stored = self._stored.setdefault(path, Future())
        if is_new:
            try:
                stored.set_result(self._store(path))
            except BaseException as error:
                stored.set_exception(error)
        return stored.result()

    def _store(self, path: Path) -> StoredFiles:
        files = self._of_input(path) or self._of_this_disk(path)
        is_file = list(files) == [path]
        folder = path.parent if is_file else path
        entries = tuple((file.relative_to(folder).as_posix(), *stored) for file, stored in files.items())
        return StoredFiles(path.name if is_file else "", entries)

    def _of_input(self, path: Path) -> dict[Path, tuple[str, FileEntry]]:
        """Key and entry of each file of an input artifact at a path, or below it. Empty if no input has one there."""
        artifact, names = self._inputs.files_at(path)
        if artifact is None:
            return {}
        assert isinstance(artifact.remote, RemoteFiles)
        return {artifact.folder / name: (artifact.remote.key(name), artifact.record.files[name]) for name in names}

    def _of_this_disk(self, path: Path) -> dict[Path, tuple[str, FileEntry]]:
        """Key and entry of each file at a path, or below it, after it has been stored."""
        if not path.exists():
            raise ArtifactError(f"{path}: a task reads it, but it is neither an input nor on this machine")
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        return {file: self._staging.store_input(file) for file in files}


class _Calls(Mapping[str, tuple]):
    """Arguments of `run_remote_task` by task, made by the pool shortly before an engine asks for them, in order."""

    def __init__(self, names: Iterable[str], make: Callable[[str], tuple], pool: Executor):
        self._names, self._make, self._pool = list(names), make, pool
        self._upcoming = iter(self._names)
        self._made: dict[str, Future[tuple]] = {}

    def __getitem__(self, name: str) -> tuple:
        while name not in self._made or len(self._made) <= _UPLOADS:
            upcoming = next(self._upcoming, None)
            if upcoming is None:
                break
            self._made[upcoming] = self._pool.submit(self._make, upcoming)
        return self._made.pop(name).result() if name in self._made else self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
