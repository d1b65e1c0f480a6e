"""Runs whose process was killed. Dagster has no way to see that of a run within a command: it stays "started", and holds its slots of
pools, for which every later run would wait forever.

Every run bears the name of a file that its process holds with flock. The system lets go of it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

TAG = "llm-assets/process"


@contextmanager
def alive(folder: Path) -> Iterator[dict[str, str]]:
    """Tags of the runs of this process, which say for as long as it lives that it does."""
    folder.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    with (folder / name).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield {TAG: name}
        finally:
            (folder / name).unlink(missing_ok=True)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the process that holds this file lives."""
    try:
        with (folder / name).open("r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except FileNotFoundError:
        pass
    return False


def close_killed_runs(instance: dg.DagsterInstance, folder: Path) -> list[str]:
    """Tell Dagster that runs have failed whose process is gone, and free their slots; their ids."""
    import dagster as dg

    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])):
        name = run.tags.get(TAG)
        if name is not None and not is_alive(folder, name):
            instance.report_run_failed(run, "The process of this run was killed.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            (folder / name).unlink(missing_ok=True)
            closed.append(run.run_id)
    return closed
