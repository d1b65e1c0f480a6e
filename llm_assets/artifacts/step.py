"""A build in progress. Each task is stored when it finishes, so that a killed step resumes at the file it was at."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl
import pyarrow.parquet as pq

from .artifact import Artifact
from .errors import ArtifactError
from .identity import Identity
from .inputs import Inputs
from .progress import Progress
from .record import FileEntry, file_digest, fsync_path, write_atomic
from .tables import TableInvalid, arrow_schema, polars_schema, validate

if TYPE_CHECKING:
    from .remote_tasks import RemoteTasks

TASKS = ".tasks"
# A row group holds at most this many rows, or bytes of text. Both bounds depend only on the content, so a table's bytes
# are the same whichever process writes it.
ROW_GROUP_ROWS = 8_192
ROW_GROUP_BYTES = 32 << 20


class TableWriter:
    """Writes rows of one schema into a parquet file (zstd). Each row group is validated before it is written.

    Raises TableInvalid, which names the file and the first row of the failing group.
    """

    def __init__(self, path: Path, schema: type):
        self.path, self.schema = path, schema
        self.rows = 0
        self._types = polars_schema(schema)
        self._pending: list[dict[str, Any]] = []
        self._pending_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._writer = pq.ParquetWriter(self._temporary, arrow_schema(schema), compression="zstd", compression_level=3)

    def append(self, row: dict[str, Any], weight: int = 256) -> None:
        """Add a row; `weight` is its approximate size in bytes."""
        self._pending.append(row)
        self._pending_bytes += weight
        if len(self._pending) >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self.flush()

    def frame(self, frame: pl.DataFrame) -> None:
        """Add a frame."""
        self.flush()
        for row_group in frame.iter_slices(ROW_GROUP_ROWS):
            self._write(row_group)

    def frames(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Add frames as if they were one, and yield each once it is added.

        Row groups do not depend on where a frame ends and the next begins. Memory holds one row group, and one frame.
        """
        waiting: list[pl.DataFrame] = []
        rows = 0
        for frame in frames:
            waiting.append(frame)
            rows += len(frame)
            if rows >= ROW_GROUP_ROWS:
                joined = pl.concat(waiting)
                complete = rows - rows % ROW_GROUP_ROWS
                self.frame(joined[:complete])
                waiting, rows = [joined[complete:]], rows - complete
            yield frame
        if rows:
            self.frame(pl.concat(waiting))

    def flush(self) -> None:
        """Write the pending rows as a row group."""
        if self._pending:
            rows, self._pending, self._pending_bytes = self._pending, [], 0
            self._write(pl.DataFrame(rows, schema=self._types))

    def _write(self, frame: pl.DataFrame) -> None:
        frame = frame.select(list(self._types)).cast(self._types)
        try:
            validate(self.schema, frame)
        except TableInvalid as error:
            raise TableInvalid(f"{self.path.name}, rows from {self.rows}: {error}", error.failures) from error
        self._writer.write_table(frame.to_arrow().cast(self._writer.schema), row_group_size=max(1, len(frame)))
        self.rows += len(frame)

    def close(self) -> None:
        """Finish the file and make it visible under its name."""
        self.flush()
        self._writer.close()
        fsync_path(self._temporary)
        os.replace(self._temporary, self.path)

    def abort(self) -> None:
        """Discard the file."""
        with contextlib.suppress(OSError):  # report the error that led here, not this one
            self._writer.close()
        self._temporary.unlink(missing_ok=True)


class Task:
    """A unit of a step's work (usually one WARC file), written by a worker process.

    Use it as a context manager. Its files become visible one by one, its marker last. The step sums the tasks' `stats`.
    """

    def __init__(self, staging: Path, name: str):
        if "/" in name or name.startswith("."):
            raise ArtifactError(f"task name {name!r} must be a plain file name")
        self.staging, self.name = staging, name
        self.stats: dict[str, Any] = {}
        self._tables: dict[str, TableWriter] = {}
        self._files: dict[str, Path] = {}
        self._external: dict[str, FileEntry] = {}
        self._scratch: dict[str, Path] = {}

    def table(self, table: str, schema: type) -> TableWriter:
        """A writer for ``<table>/<task>.parquet``."""
        path = self.staging / table / f"{self.name}.parquet"
        writer = self._tables[table] = TableWriter(path, schema)
        self._files[f"{table}/{self.name}.parquet"] = path
        return writer

    def add_file(self, relative: str) -> None:
        """Add a complete file in the staging folder to this task's files."""
        self._files[relative] = self.staging / relative

    def add_scratch(self, relative: str) -> Path:
        """A path for a file that a later task of this step reads. It is removed when the step is finished."""
        path = self._scratch[relative] = self.staging / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def reference(self, relative: str, path: Path) -> None:
        """Add a file outside the store to this task's files, by its digest."""
        self._external[relative] = FileEntry(bytes=path.stat().st_size, sha256=file_digest(path), location=str(path))

    def __enter__(self) -> Task:
        self._started = time.perf_counter()
        self._cpu = time.process_time()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> None:
        if kind is not None:
            for writer in self._tables.values():
                writer.abort()
            return
        for writer in self._tables.values():
            writer.close()
        files = {
            name: FileEntry(bytes=path.stat().st_size, sha256=file_digest(path)).model_dump(exclude_none=True)
            for name, path in self._files.items()
        }
        files.update({name: entry.model_dump() for name, entry in self._external.items()})
        marker = {
            "files": files,
            "scratch": {name: path.stat().st_size for name, path in self._scratch.items()},
            "rows": {table: writer.rows for table, writer in self._tables.items()},
            "schemas": {
                table: {name: str(dtype) for name, dtype in writer._types.items()}
                for table, writer in self._tables.items()
            },
            "stats": self.stats,
            "timings": {
                "seconds": round(time.perf_counter() - self._started, 4),
                "cpu_seconds": round(time.process_time() - self._cpu, 4),
            },
            "process": os.getpid(),
        }
        write_atomic(self.staging / TASKS / f"{self.name}.json", json.dumps(marker, sort_keys=True).encode())


class Engine(Protocol):
    """Where tasks run.

    shares_disk: whether workers see this machine's disk. Those that do not fetch inputs from the store's URL.
    """

    shares_disk: bool

    @property
    def on_this_machine(self) -> Engine:
        """An engine whose workers see this machine's disk."""
        ...

    def run(
        self, work: Callable[..., None], tasks: Mapping[str, tuple], sizes: Mapping[str, int] | None = None
    ) -> Generator[str]:
        """Call ``work(*tasks[name])`` for every name, in this order, and yield each name when its task finishes.

        sizes: bytes that each task reads. The first error stops all tasks.
        """
        ...


@dataclass
class Step:
    """The first argument of a stage's build function: its inputs, its staging folder, and ways to run and track work.

    remote: the tasks of workers that do not see this machine's disk, if the engine has such workers.
    track: records numbers of a long step while it runs (MLflow). launcher: starts the step's processes; None starts
    plain subprocesses. require_lock: called after each task; raises LeaseLost if another builder has taken over.
    """

    identity: Identity
    staging: Path
    inputs: Inputs
    progress: Progress
    engine: Engine
    remote: RemoteTasks | None = None
    resumed_tasks: int = 0
    track: Callable[[Mapping[str, float], int], None] = lambda numbers, step: None
    launcher: Any = None
    require_lock: Callable[[], None] = lambda: None

    @property
    def partition(self) -> str:
        """The crawl that is built. Raises ArtifactError for an asset without partitions."""
        if self.identity.partition is None:
            raise ArtifactError(f"{self.identity.asset} has no partition")
        return self.identity.partition

    def input(self, asset: str) -> Artifact:
        """The input artifact of an asset: that of the same crawl, or the one without a partition."""
        return self.inputs.artifact(asset)

    def task_files(self, asset: str, table: str) -> dict[str, Path]:
        """The files of an input's table, by the name of the task that reads them: the file's name without ending.

        Where workers fetch their inputs themselves, the files need not be on this machine.
        """
        artifact = self.input(asset)
        if self.engine.shares_disk:
            return {path.stem: path for path in artifact.table(table)}
        return {Path(name).stem: artifact.folder / name for name in artifact.table_files(table)}

    def task_file(self, asset: str, name: str) -> Path:
        """One file of an input that a task reads. Like those of `task_files`, it need not be on this machine."""
        artifact = self.input(asset)
        is_stored = name in artifact.record.files and artifact.record.files[name].location is None
        return artifact.folder / name if is_stored and not self.engine.shares_disk else artifact.file(name)

    def task(self, name: str) -> Task:
        return Task(self.staging, name)

    def finished_task(self, name: str) -> dict[str, Any] | None:
        """The marker of a task that is finished and whose files are whole, else None."""
        try:
            marker = json.loads((self.staging / TASKS / f"{name}.json").read_bytes())
        except FileNotFoundError:
            return None
        sizes = {file: entry["bytes"] for file, entry in marker["files"].items() if entry.get("location") is None}
        for file, size in {**sizes, **marker["scratch"]}.items():
            path = self.staging / file
            if not path.exists() or path.stat().st_size != size:
                return None
        return marker

    def run_tasks(
        self,
        work: Callable[..., None],
        tasks: Mapping[str, tuple],
        unit: str = "files",
        sizes: Mapping[str, int] | None = None,
        engine: Engine | None = None,
    ) -> None:
        """Run ``work(staging, name, *arguments)`` for every unfinished task.

        tasks: the arguments of each task, by name. A path among them is that of a file, or folder, to read.
        engine: runs the tasks in place of the step's engine.
        sizes: bytes that each task reads; by default those of the files among its arguments, at any depth. The largest
        tasks run first, so that none of them runs alone at the end.
        """
        engine = engine or self.engine
        remote = None if engine.shares_disk else self.remote
        stored = set(remote.finished()) if remote is not None else set()
        unfinished = [name for name in tasks if name not in stored and self.finished_task(name) is None]
        self.resumed_tasks = len(tasks) - len(unfinished)
        sizes = sizes or self._input_bytes({name: tasks[name] for name in unfinished})
        unfinished.sort(key=lambda name: (-sizes.get(name, 0), name))
        done = self.resumed_tasks
        self.progress.start(len(tasks), unit, done)
        if remote is None:
            names = engine.run(work, {name: (self.staging, name, *tasks[name]) for name in unfinished}, sizes)
        else:
            names = remote.run(engine, work, {name: tasks[name] for name in unfinished}, sizes)
        with contextlib.closing(names):  # after an error here, the engine stops its tasks at once
            for name in names:
                done += 1
                marker = self.finished_task(name) if remote is None else remote.save_marker(name)
                if marker is None:
                    raise ArtifactError(f"{self.identity.key}: the worker of task {name} returned without finishing it")
                self.progress.advance(done, marker["stats"])
                self.require_lock()

    def _input_bytes(self, tasks: Mapping[str, tuple]) -> dict[str, int]:
        """Bytes of the files among the arguments of each task."""
        sizes: dict[Path, int] = {}

        def size(path: Path) -> int:
            if path not in sizes:
                artifact, names = self.inputs.files_at(path)
                if artifact is not None:
                    sizes[path] = sum(artifact.record.files[name].bytes for name in names)
                else:
                    files = path.rglob("*") if path.is_dir() else [path]
                    sizes[path] = sum(file.stat().st_size for file in files if file.is_file())
            return sizes[path]

        return {name: sum(map(size, paths_in(arguments))) for name, arguments in tasks.items()}

    def table(self, name: str) -> list[Path]:
        """The files of a table that the finished tasks of this step have written, sorted. They are on this machine."""
        self.fetch(f"{name}/")
        return sorted((self.staging / name).glob("*.parquet"))

    def fetch(self, below: str) -> None:
        """Bring files, also scratch files, that workers have stored onto this machine: whose names begin with `below`.

        Does nothing where workers see this machine's disk.
        """
        if self.remote is not None:
            self.remote.fetch(self.markers(), below)

    def markers(self) -> dict[str, dict[str, Any]]:
        """The markers of finished tasks, by task name, sorted."""
        folder = self.staging / TASKS
        if not folder.is_dir():
            return {}
        return {path.stem: json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}


def paths_in(value: Any) -> set[Path]:
    """The paths in a task's arguments: in sequences, sets, mappings and attributes of objects, at any depth."""
    if isinstance(value, Path):
        return {value}
    if isinstance(value, Mapping):
        members: Iterable[Any] = [*value.keys(), *value.values()]
    elif isinstance(value, (tuple, list, set, frozenset)):
        members = value
    elif isinstance(value, (Enum, type)):
        return set()
    elif isinstance(value, partial):
        members = (value.args, value.keywords)
    else:
        members = getattr(value, "__dict__", {}).values()
    return set().union(*map(paths_in, members))


def sum_stats(stats: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the numbers of many tasks' stats, key by key, also in nested mappings. Of texts, the last is kept."""
    total: dict[str, Any] = {}
    for task_stats in stats:
        for key, value in task_stats.items():
            if isinstance(value, Mapping):
                total[key] = sum_stats([total.get(key, {}), value])
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                total[key] = total.get(key, 0) + value
            elif isinstance(value, str):
                total[key] = value
    return dict(sorted(total.items()))
