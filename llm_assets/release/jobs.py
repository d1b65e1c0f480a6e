"""The job of `benchmark_evaluation_process`: plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkedCheckpoint:
    """A model to ask. name: in tables. folder: of its checkpoint. has_chat: whether it was trained on conversations."""

    name: str
    folder: str
    has_chat: bool


@dataclass(frozen=True)
class HarnessTask:
    """A task, group or tag of the harness. shots: examples before each question; None is the task's own number."""

    name: str
    shots: int | None


@dataclass(frozen=True)
class BenchmarkJob:
    """Benchmarks of all models.

    tasks: to ask. folder: of the YAML files of tasks that are not the harness's own. needs_index: whether one is the
    harness's own. core: folder of DCLM's CORE. limit: questions per task. max_tokens: of a response; None is the task's
    own limit.
    """

    models: tuple[BenchmarkedCheckpoint, ...]
    tasks: tuple[HarnessTask, ...]
    folder: str
    needs_index: bool
    core: str | None
    limit: int | None
    chat_template: bool
    max_tokens: int | None
    device: str
    seed: int
