"""Inside one build: parts that are kept as they finish, so that a killed step resumes at the file it was at."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from .errors import ArtifactError
from .identity import Identity
from .inputs import Inputs
from .progress import Progress
from .record import FileEntry, file_digest, fsync_path, write_atomic
from .store import Artifact
from .tables import TableInvalid, arrow_schema, polars_schema, validate

TASKS = ".tasks"
# Rows are collected into row groups of at most this many rows or bytes of text; both depend on content alone, so a
# table's bytes do not depend on who wrote it.
ROW_GROUP_ROWS = 8_192
ROW_GROUP_BYTES = 32 << 20


class TableWriter:
    """Streams rows of one schema into one parquet file (zstd), validating each row group before it is written."""

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
        """Add one row; `weight` is about how many bytes it holds."""
        self._pending.append(row)
        self._pending_bytes += weight
        if len(self._pending) >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self.flush()

    def frame(self, frame: pl.DataFrame) -> None:
        """Add a whole frame."""
        self.flush()
        for piece in frame.iter_slices(ROW_GROUP_ROWS):
            self._write(piece)

    def flush(self) -> None:
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
        self.flush()
        self._writer.close()
        fsync_path(self._temporary)
        os.replace(self._temporary, self.path)

    def abort(self) -> None:
        with contextlib.suppress(OSError):  # the error that led here is the one to tell
            self._writer.close()
        self._temporary.unlink(missing_ok=True)


class Task:
    """One finished unit of a step (usually: one WARC file), written by a worker process.

    Use as a context manager: its files become visible one by one, its marker last. `stats` are summed by the step.
    """

    def __init__(self, staging: Path, name: str):
        if "/" in name or name.startswith("."):
            raise ArtifactError(f"part name {name!r} must be a plain file name")
        self.staging, self.name = staging, name
        self.stats: dict[str, Any] = {}
        self._tables: dict[str, TableWriter] = {}
        self._files: dict[str, Path] = {}
        self._external: dict[str, FileEntry] = {}
        self._scratch: dict[str, Path] = {}

    def table(self, table: str, schema: type) -> TableWriter:
        """A writer for ``<table>/<part>.parquet``."""
        path = self.staging / table / f"{self.name}.parquet"
        writer = self._tables[table] = TableWriter(path, schema)
        self._files[f"{table}/{self.name}.parquet"] = path
        return writer

    def add_file(self, relative: str) -> None:
        """Count a file that was put into the staging folder (whole, by a rename) as this part's."""
        self._files[relative] = self.staging / relative

    def add_scratch(self, relative: str) -> Path:
        """A path for a file that a later part of this step reads: kept while the step is unfinished, no part of the artifact."""
        path = self._scratch[relative] = self.staging / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def reference(self, relative: str, path: Path) -> None:
        """Count a file outside the store as this part's, by its digest."""
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
            "schemas": {table: {k: str(v) for k, v in writer._types.items()} for table, writer in self._tables.items()},
            "stats": self.stats,
            "timings": {
                "seconds": round(time.perf_counter() - self._started, 4),
                "cpu_seconds": round(time.process_time() - self._cpu, 4),
            },
            "process": os.getpid(),
        }
        write_atomic(self.staging / TASKS / f"{self.name}.json", json.dumps(marker, sort_keys=True).encode())


@dataclass
class Step:
    """What a stage's build function is given besides its config."""

    identity: Identity
    staging: Path
    inputs: Inputs
    progress: Progress
    engine: Any
    resumed_tasks: int = 0
    # Numbers of a long step as they come (MLflow), and how its processes are started (None is as plain subprocesses).
    track: Callable[[Mapping[str, float], int], None] = lambda numbers, step: None
    launcher: Any = None

    @property
    def partition(self) -> str:
        if self.identity.partition is None:
            raise ArtifactError(f"{self.identity.asset} has no partition")
        return self.identity.partition

    def input(self, asset: str) -> Artifact:
        """The input artifact of this asset: of the same crawl, or the one without a partition."""
        return self.inputs.artifact(asset)

    def task(self, name: str) -> Task:
        return Task(self.staging, name)

    def finished_task(self, name: str) -> dict[str, Any] | None:
        """The marker of a part that is done and whole, else None."""
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
        weight: Mapping[str, int] | None = None,
        engine: Any = None,
    ) -> None:
        """Run ``work(staging, name, *args)`` for every part that is not finished yet, over the engine's workers (or those of `engine`).

        `weight` (bytes, say) orders the work, largest first, so that the last worker is not left with the largest.
        """
        todo = [name for name in tasks if self.finished_task(name) is None]
        self.resumed_tasks = len(tasks) - len(todo)
        todo.sort(key=lambda name: (-(weight or {}).get(name, 0), name))
        done = self.resumed_tasks
        self.progress.start(len(tasks), unit, done)
        for name in (engine or self.engine).run(work, {name: (self.staging, name, *tasks[name]) for name in todo}):
            done += 1
            marker = self.finished_task(name)
            if marker is None:
                raise ArtifactError(f"{self.identity.key}: the worker of part {name} returned without finishing it")
            self.progress.advance(done, marker["stats"])

    def markers(self) -> dict[str, dict[str, Any]]:
        folder = self.staging / TASKS
        return (
            {path.stem: json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}
            if folder.is_dir()
            else {}
        )


def sum_stats(stats: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the numbers of many parts' stats, key by key (nested mappings too); of texts the last is kept."""
    total: dict[str, Any] = {}
    for one in stats:
        for key, value in one.items():
            if isinstance(value, Mapping):
                total[key] = sum_stats([total.get(key, {}), value])
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                total[key] = total.get(key, 0) + value
            elif isinstance(value, str):
                total[key] = value
    return dict(sorted(total.items()))
