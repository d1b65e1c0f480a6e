"""Materialising: looks an artifact up in the store and builds it if it is not there."""

from __future__ import annotations

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

from .artifact import Artifact
from .errors import NotBuilt, clear_disk_errors
from .identity import recipe_label
from .progress import Listener, Progress
from .purge import refuse_unfinished
from .record import FileEntry, Record, data_version
from .remote_tasks import RemoteTasks, library_versions
from .resolver import Resolution, Resolver
from .source import source_digests
from .stage import Graph, Stage, drifted_modules
from .step import TASKS, Step, sum_stats
from .store import Store
from .views import draw_views


class Tracker(Protocol):
    """Tracks builds (MLflow). A cached artifact is not tracked."""

    def run(self, resolution: Resolution, recipe: Any) -> AbstractContextManager[str | None]:
        """A tracking run around one build; yields its id."""
        ...

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Record numbers of a training step while the training runs."""
        ...

    def finish(self, record: Record) -> None:
        """Record the numbers of a finished build."""
        ...

    def attach(self, resolution: Resolution, artifact: Artifact, views: list[str], recipe: Any) -> None:
        """Add views that were drawn to the run that built the artifact; register the model that it holds, if any."""
        ...

    def link(self, run_id: str) -> str | None:
        """The URL of a tracking run's page, or None if it has none."""
        ...


class NoTracker:
    """Tracks nothing."""

    @contextmanager
    def run(self, resolution: Resolution, recipe: Any) -> Iterator[None]:
        yield None

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        return None

    def finish(self, record: Record) -> None:
        return None

    def attach(self, resolution: Resolution, artifact: Artifact, views: list[str], recipe: Any) -> None:
        return None

    def link(self, run_id: str) -> None:
        return None


@dataclass
class Workspace:
    """What materialising needs besides the stage: recipe, store, graph, and how work is run and tracked.

    engine: runs the tasks of a step. launcher: starts training processes; None starts plain subprocesses. Neither is
    part of the identity.
    crawls: crawls that may count as built for a stage that reads several crawls; None allows all.
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
        """Note in the store that the recipe resolves to this artifact, so that `gc` keeps it under any other recipe."""
        assert resolution.identity is not None
        self.store.remember_recipe(recipe_label(self.recipe), resolution.identity)

    def resolver(self) -> Resolver:
        return Resolver(self.graph, self.recipe, self.store, crawls=self.crawls)


@dataclass(frozen=True)
class Outcome:
    """A materialised artifact.

    cached: whether it was in the store already. drifted: modules whose source has changed since it was built.
    resumed_tasks: tasks taken over from an interrupted build.
    crawls, unbuilt_crawls: for an artifact without a partition, the crawls that it was built from and those left out.
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

    Raises LeftOut if the recipe leaves the stage out, NotBuilt if an input artifact is missing, ExternalInputError if
    an external input is missing, StoreUnwritable if the disk is full or read-only, ArtifactError while a takedown is
    unfinished, and any error of the stage's build.
    After an error nothing is published, and finished tasks are kept for the next try.
    """
    began = time.perf_counter()
    resolver = workspace.resolver()
    resolution = resolver.resolve(stage.name, partition)
    resolver.refuse_left_out(resolution)
    progress = Progress(resolution.key, list(listeners or []))
    if resolution.identity is None:
        raise NotBuilt(_missing(resolution, workspace.recipe.name))
    if resolution.unreachable is not None:
        raise resolution.unreachable
    if resolution.unbuilt_crawls:
        progress.report(
            "warning",
            message=f"without {', '.join(resolution.unbuilt_crawls)}: in the recipe, but not built",
        )
    artifact, cached, resumed_tasks = resolution.artifact, True, 0
    if artifact is None:
        artifact, cached, resumed_tasks = _build_under_lock(stage, workspace, resolution, progress, began)
    resolution = replace(resolution, artifact=artifact)
    if stage.locations is not None:
        artifact.relocate(dict(stage.locations(resolution.config)))
    if drawn := draw_views(resolution, artifact):
        workspace.tracker.attach(resolution, artifact, drawn, workspace.recipe)
    if cached:
        workspace.store.touch_latest(resolution.identity)
    workspace.remember(resolution)
    seconds = time.perf_counter() - began
    pages = int(artifact.record.stats.get("pages", 0))
    progress.report("cached" if cached else "finished", seconds=seconds, pages=pages)
    return Outcome(artifact, resolution, cached, drifted_modules(stage, artifact), seconds, resumed_tasks)


def _build_under_lock(
    stage: Stage, workspace: Workspace, resolution: Resolution, progress: Progress, began: float
) -> tuple[Artifact, bool, int]:
    """Build the artifact, unless another process does so first.

    began: `time.perf_counter()` at the start. Returns the artifact, whether another process built it, and the number of
    tasks taken over from an interrupted build.
    """
    assert resolution.identity is not None
    with workspace.store.lock(
        resolution.identity,
        lambda holder: progress.report("waiting", message=f"for {holder}, which is building it"),
        workspace.dagster_run_id,
    ):
        artifact = workspace.store.lookup(resolution.identity)  # another process may have built it while we waited
        if artifact is not None:
            return artifact, True, 0
        refuse_unfinished(workspace.store)
        try:
            artifact, resumed_tasks = _build(stage, workspace, resolution, progress)
        except BaseException as error:
            seconds = time.perf_counter() - began
            progress.report("failed", seconds=seconds, message=f"{type(error).__name__}: {error}")
            raise
        return artifact, False, resumed_tasks


def _missing(resolution: Resolution, recipe: str) -> str:
    """The message for missing inputs: which, and the command that builds them."""
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
    """Build and publish the artifact. Returns it and the number of tasks taken over from an interrupted build."""
    identity = resolution.identity
    assert identity is not None
    store = workspace.store
    clocks = _Clocks(datetime.now(UTC), time.perf_counter(), time.process_time())
    progress.report("started")
    staging = store.open_staging(identity)
    step = Step(
        identity,
        staging,
        resolution.inputs,
        progress,
        workspace.engine,
        track=workspace.tracker.log,
        launcher=workspace.launcher,
        require_lock=lambda: store.require_lock(identity),
    )
    if not workspace.engine.shares_disk:
        remote_staging = store.remote_staging(identity)  # at once: a store that has none is an error before any work
        step.remote = RemoteTasks(remote_staging, staging, resolution.inputs, stage.libraries)
    source = source_digests(stage.build)  # before the build: the files may be edited while a long step runs
    with workspace.tracker.run(resolution, workspace.recipe) as tracking_id, clear_disk_errors(store.root):
        stage.build(step, resolution.config)
        record = _record_of(stage, step, clocks)
        record.source = source
        record.mlflow_run_id = tracking_id
        record.dagster_run_id = workspace.dagster_run_id
        _drop_leftovers(staging, record)
        artifact = store.publish(identity, staging, record)
        shutil.rmtree(artifact.folder / TASKS, ignore_errors=True)
        workspace.tracker.finish(record)
    return artifact, step.resumed_tasks


@dataclass(frozen=True)
class _Clocks:
    """When a build began: the date, `time.perf_counter()` and `time.process_time()`."""

    date: datetime
    wall: float
    cpu: float


def _record_of(stage: Stage, step: Step, began: _Clocks) -> Record:
    """The record of a finished step, from the markers of its tasks."""
    identity, markers = step.identity, step.markers()
    files = {name: FileEntry(**entry) for marker in markers.values() for name, entry in marker["files"].items()}
    # The CPU time of tasks that ran in this process is in its own clock already.
    worker_cpu = sum(
        marker["timings"]["cpu_seconds"] for marker in markers.values() if marker["process"] != os.getpid()
    )
    return Record(
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
        timings={
            "started_at": began.date.isoformat(),
            "finished_at": datetime.now(UTC).isoformat(),
            "seconds": round(time.perf_counter() - began.wall, 4),
            "cpu_seconds": round(worker_cpu + time.process_time() - began.cpu, 4),
            "resumed_tasks": step.resumed_tasks,
        },
        versions={
            "python": platform.python_version(),
            **library_versions(stage.libraries),
        },
    )


def _drop_leftovers(staging: Path, record: Record) -> None:
    """Remove files that are not in the record (such as a crawl's spool) from a finished build's folder.

    The markers of finished tasks stay until the artifact is published: a kill in between must not lose them.
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
