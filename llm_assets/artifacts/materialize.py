"""Look up first, build only on a miss: the one way an artifact comes into being."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from .errors import NotBuilt
from .identity import recipe_label
from .progress import Listener, Progress
from .purge import refuse_unfinished
from .record import FileEntry, Record, data_version
from .source import source_digests
from .stage import Graph, Resolution, Resolver, Stage, drifted_modules
from .step import TASKS, Step, sum_stats
from .store import Artifact, Store, clear_disk_errors
from .views import draw_views


class Tracker(Protocol):
    """Where runs that did work are tracked (MLflow); `run` yields the tracking run's id."""

    def run(self, resolution: Resolution, recipe: Any) -> AbstractContextManager[str | None]: ...

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers of a step of a training, as it goes on."""
        ...

    def finish(self, record: Record) -> None: ...

    def link(self, run_id: str) -> str | None:
        """The address of a tracking run's page, where it has one."""
        ...


class NoTracker:
    @contextmanager
    def run(self, resolution: Resolution, recipe: Any) -> Iterator[None]:
        yield None

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        return None

    def finish(self, record: Record) -> None:
        return None

    def link(self, run_id: str) -> None:
        return None


@dataclass
class Workspace:
    """What materialising needs besides the stage: recipe, store, graph, and how work is done and told.

    engine: runs the parts of a step. launcher: starts training processes (None is as plain subprocesses). Neither
    bears identity. crawls: those that may count as built for a stage that reads several; None is all.
    """

    recipe: Any
    store: Store
    graph: Graph
    engine: Any
    tracker: Tracker = field(default_factory=NoTracker)
    dagster_run_id: str | None = None
    launcher: Any = None
    crawls: frozenset[str] | None = None

    def remember(self, resolution: Resolution) -> None:
        """Note in the store that the recipe resolves to this artifact: `gc` keeps it, whatever recipe it is asked for."""
        assert resolution.identity is not None
        self.store.remember_recipe(recipe_label(self.recipe), resolution.identity)

    def resolver(self) -> Resolver:
        return Resolver(self.graph, self.recipe, self.store, crawls=self.crawls)


@dataclass(frozen=True)
class Outcome:
    """The artifact, whether it was there already, and how it came to be.

    crawls, unbuilt_crawls: of an artifact without a partition, the crawls it was made from and those left out.
    """

    artifact: Artifact
    resolution: Resolution
    cached: bool
    drifted: list[str]
    seconds: float
    resumed_tasks: int = 0

    @property
    def crawls(self) -> list[str]:
        return self.resolution.crawls

    @property
    def unbuilt_crawls(self) -> list[str]:
        return self.resolution.unbuilt_crawls


def materialize(
    stage: Stage, partition: str | None, workspace: Workspace, listeners: list[Listener] | None = None
) -> Outcome:
    """Return the artifact that the recipe asks for, building it when the store does not have it.

    Raises NotBuilt when an input is missing, ExternalInputError when one from outside the store is, StoreUnwritable when
    the disk is full or read-only, ArtifactError while a takedown is under way, and whatever the stage's build raises. On
    any of them nothing is published and the parts that were finished stay for the next try.
    """
    began = time.perf_counter()
    resolution = workspace.resolver().resolve(stage.name, partition)
    progress = Progress(resolution.key, list(listeners or []))
    if resolution.identity is None:
        raise NotBuilt(_missing(resolution, workspace.recipe.name))
    if resolution.unreachable is not None:
        raise resolution.unreachable
    if resolution.unbuilt_crawls:
        progress.tell(
            "warning",
            message=f"without {', '.join(resolution.unbuilt_crawls)}, which the recipe names and nobody has built",
        )
    artifact, resumed = resolution.artifact, 0
    cached = artifact is not None
    if artifact is None:
        with workspace.store.lock(
            resolution.identity,
            lambda holder: progress.tell("waiting", message=f"for {holder}, which builds it"),
            workspace.dagster_run_id,
        ):
            artifact = workspace.store.lookup(resolution.identity)  # the one we waited for may have built it
            cached = artifact is not None
            if artifact is None:
                refuse_unfinished(workspace.store)
                try:
                    artifact, resumed = _build(stage, workspace, resolution, progress)
                except BaseException as error:
                    seconds = time.perf_counter() - began
                    progress.tell("failed", seconds=seconds, message=f"{type(error).__name__}: {error}")
                    raise
    resolution = replace(resolution, artifact=artifact)
    if stage.locations is not None:
        artifact.relocate(dict(stage.locations(resolution.config)))
    draw_views(resolution, artifact)
    if cached:
        workspace.store.touch_latest(resolution.identity)
    workspace.remember(resolution)
    seconds = time.perf_counter() - began
    progress.tell("cached" if cached else "finished", seconds=seconds, pages=int(artifact.record.stats.get("pages", 0)))
    return Outcome(artifact, resolution, cached, drifted_modules(stage, artifact), seconds, resumed)


def _missing(resolution: Resolution, recipe: str) -> str:
    """Why a stage cannot be built, and what to do."""
    missing = ", ".join(resolution.missing)
    crawls = {key.partition("/")[2] for key in resolution.missing if "/" in key}
    if resolution.partition is not None:
        crawls.add(resolution.partition)
    options = "".join(f" --crawl {crawl}" for crawl in sorted(crawls))
    return (
        f"{resolution.key} cannot be built: {missing} not built under recipe {recipe!r}; "
        f"build it too: llm-assets run{options} --select '*{resolution.stage.name}'"
    )


def _build(stage: Stage, workspace: Workspace, resolution: Resolution, progress: Progress) -> tuple[Artifact, int]:
    identity = resolution.identity
    assert identity is not None
    store = workspace.store
    started = datetime.now(UTC)
    clock, cpu = time.perf_counter(), time.process_time()
    progress.tell("started")
    staging = store.open_staging(identity)
    step = Step(
        identity,
        staging,
        resolution.inputs,
        progress,
        workspace.engine,
        track=workspace.tracker.log,
        launcher=workspace.launcher,
    )
    source = source_digests(stage.build)  # as it is now: it may be edited while a long step runs
    with workspace.tracker.run(resolution, workspace.recipe) as tracking_id, clear_disk_errors(store.root):
        stage.build(step, resolution.config)
        markers = step.markers()
        files = {name: FileEntry(**entry) for marker in markers.values() for name, entry in marker["files"].items()}
        # What this process did is in its own clock already.
        worker_cpu = sum(
            marker["timings"]["cpu_seconds"] for marker in markers.values() if marker["process"] != os.getpid()
        )
        record = Record(
            asset=identity.asset,
            partition=identity.partition,
            identity=identity.digest,
            fields=identity.fields(),
            data_version=data_version(files),
            files=dict(sorted(files.items())),
            views=[view.file for view in stage.views],
            rows=sum_stats(marker["rows"] for marker in markers.values()),
            schemas={table: schema for marker in markers.values() for table, schema in marker["schemas"].items()},
            stats=sum_stats(marker["stats"] for marker in markers.values()),
            tasks={name: {"rows": marker["rows"], **marker["timings"]} for name, marker in markers.items()},
            source=source,
            timings={
                "started_at": started.isoformat(),
                "finished_at": datetime.now(UTC).isoformat(),
                "seconds": round(time.perf_counter() - clock, 4),
                "cpu_seconds": round(worker_cpu + time.process_time() - cpu, 4),
                "resumed_tasks": step.resumed_tasks,
            },
            versions={
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in stage.libraries},
            },
            mlflow_run_id=tracking_id,
            dagster_run_id=workspace.dagster_run_id,
        )
        _drop_leftovers(staging, record)
        artifact = store.publish(identity, staging, record)
        shutil.rmtree(artifact.path / TASKS, ignore_errors=True)
        workspace.tracker.finish(record)
    return artifact, step.resumed_tasks


def _drop_leftovers(staging: Path, record: Record) -> None:
    """Remove what a build left besides the record's files (a crawl's spool), so that the folder is the artifact.

    The markers of finished parts stay until the artifact is published: a kill in between must not lose them.
    """
    keep = {staging / name for name in record.files}
    for path in sorted(staging.rglob("*"), reverse=True):
        if TASKS in path.relative_to(staging).parts:
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in keep:
            path.unlink()
