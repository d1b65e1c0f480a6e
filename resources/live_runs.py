"""Which runs are alive and what they wait for, whether a command, the UI or a schedule started them.

Dagster does not notice when the process of a run is killed: the run stays "started", and its pool slots stay taken.
Every run's process therefore announces the run with a file (see `liveness`). A run that waits for a pool closes dead
runs that hold its slots, and reports which live run it waits for.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from llm_assets.artifacts.progress import Progress
from llm_assets.settings import load_settings

from .liveness import announce, state_of
from .processes import progress_logger

WATCH_SECONDS = 2.0
IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
# A command announces its run before it creates it, so a run may be killed before it is started.
UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, *IN_PROGRESS]
KILLED = "The process of this run was killed."

_announced: set[str] = set()


def announced_runs() -> list[str]:
    """Ids of the unfinished runs that this process has announced."""
    return list(_announced)


@contextmanager
def announce_run(run_id: str) -> Iterator[None]:
    """Show other processes that a run is alive, while the block runs and this process lives. May be nested."""
    if run_id in _announced:
        yield
        return
    with announce(_lock_file(run_id)):
        _announced.add(run_id)
        try:
            yield
        finally:
            _announced.discard(run_id)


def _lock_file(run_id: str) -> Path:
    return load_settings().data / "processes" / run_id


def is_announced(run_id: str) -> bool:
    """Whether the process that announced the run is alive; False if none has announced it."""
    return state_of(_lock_file(run_id)) == "alive"


def was_killed(run_id: str) -> bool:
    """Whether the process that announced the run ended before the run did; False if none has announced it."""
    return state_of(_lock_file(run_id)) == "killed"


def close_run(instance: dg.DagsterInstance, run_id: str, message: str = KILLED, canceled: bool = False) -> None:
    """Report to Dagster that a run is over, unless it knows, and free the run's pool slots."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        (instance.report_run_canceled if canceled else instance.report_run_failed)(run, message)
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    _lock_file(run_id).unlink(missing_ok=True)


def close_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Close the runs whose process was killed. Returns their ids."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    killed = [run.run_id for run in runs if was_killed(run.run_id)]
    for run_id in killed:
        close_run(instance, run_id)
    return killed


def is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether no process works on the run any more. Such a run may still hold pool slots."""
    if was_killed(run_id):
        return True
    run = instance.get_run_by_id(run_id)
    return (run is None or run.is_finished) and not is_announced(run_id)


def pool_waits(instance: dg.DagsterInstance, run_id: str, close_dead: bool = False) -> dict[str, str]:
    """Which pools and runs the steps of a run wait for, as text, by step.

    close_dead: close runs that are over but still hold a slot.
    """
    storage = instance.event_log_storage
    waits = {}
    for pool in [limit.name for limit in storage.get_pool_limits()]:
        info = storage.get_concurrency_info(pool)
        holders = {(slot.run_id, slot.step_key) for slot in info.claimed_slots}
        waiting = [step.step_key for step in info.pending_steps if step.run_id == run_id]
        waiting = [step for step in waiting if (run_id, step) not in holders]
        if not waiting:
            continue
        # Dagster assigns a free slot to the step that has waited longest, before that step's run claims it.
        holders |= {(step.run_id, step.step_key) for step in info.pending_steps if step.assigned_timestamp is not None}
        holders = {holder for holder in holders if holder[0] != run_id}
        over = {other for other, _ in holders if is_over(instance, other)}
        for other in over if close_dead else ():
            close_run(instance, other)
        live = [f"run {other[:8]} ({step})" for other, step in sorted(holders) if other not in over]
        reason = f"for {' and '.join(live)}, which holds the pool {pool!r}" if live else f"for the pool {pool!r}"
        waits.update(dict.fromkeys(waiting, reason))
    return waits


@contextmanager
def report_pool_waits(instance: dg.DagsterInstance, run_id: str, log: Any) -> Iterator[None]:
    """While the block runs, report which pools the run waits for, in the log and to this process's listeners."""
    ended = threading.Event()

    def watch() -> None:
        reported: dict[str, str] = {}
        while not ended.wait(WATCH_SECONDS):
            try:
                waits = pool_waits(instance, run_id, close_dead=True)
            except Exception as error:  # a database that is busy for a moment must not end this thread
                log.debug(f"cannot read which pools the run waits for: {error}")
                continue
            for step, reason in waits.items():
                if reported.get(step) != reason:
                    Progress(step, [progress_logger(log)]).report("waiting", message=reason)
            reported = waits

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
