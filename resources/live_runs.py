"""Which runs live, and what a live one waits for, however each was started: by a command, the UI, a schedule.

Dagster cannot see that the process of a run was killed: the run stays "started", and what it holds of a pool stays
taken. So every run's process holds a file called like the run with flock, which the system lets go of when the process
ends, however it ends. A run that waits for a pool closes the dead runs that it waits for, and says which live one it is.
"""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from llm_assets.artifacts.progress import Progress
from llm_assets.settings import load_settings

from .processes import progress_logger

WATCH_SECONDS = 2.0
IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
KILLED = "The process of this run was killed."

_announced: set[str] = set()


def announced_runs() -> list[str]:
    """Ids of the runs that this process has announced and that are not over."""
    return list(_announced)


@contextmanager
def announce_run(run_id: str) -> Iterator[None]:
    """Says for as long as the block lasts, and this process lives, that the run does. A second one changes nothing."""
    if run_id in _announced:
        yield
        return
    path = _file(run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{run_id}")
    with fresh.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        fresh.rename(path)  # held before anybody can look at it
        _announced.add(run_id)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            _announced.discard(run_id)


def _file(run_id: str) -> Path:
    return load_settings().data / "processes" / run_id


def is_announced(run_id: str) -> bool:
    """Whether the process that announced the run lives; False where none has."""
    return _state(run_id) == "alive"


def was_killed(run_id: str) -> bool:
    """Whether the process that announced the run is gone without having ended it; False where none has announced it."""
    return _state(run_id) == "killed"


def _state(run_id: str) -> str:
    try:
        with _file(run_id).open("r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return "alive"
            return "killed" if _file(run_id).exists() else "over"  # it may have ended as we opened the file
    except FileNotFoundError:
        return "over"


def close_run(instance: dg.DagsterInstance, run_id: str, message: str = KILLED, canceled: bool = False) -> None:
    """Tell Dagster that a run is over, where it does not know, and free what it holds of pools."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        (instance.report_run_canceled if canceled else instance.report_run_failed)(run, message)
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    _file(run_id).unlink(missing_ok=True)


def close_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Close the runs whose process was killed; their ids."""
    runs = instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))
    killed = [run.run_id for run in runs if was_killed(run.run_id)]
    for run_id in killed:
        close_run(instance, run_id)
    return killed


def is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether nobody works on the run any longer: killed, or ended without having freed what it held."""
    if was_killed(run_id):
        return True
    run = instance.get_run_by_id(run_id)
    return (run is None or run.is_finished) and not is_announced(run_id)


def pool_waits(instance: dg.DagsterInstance, run_id: str, close_dead: bool = False) -> dict[str, str]:
    """What steps of a run wait for to get into their pools, by step.

    close_dead: put runs that are over, and hold a slot all the same, out of the way.
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
        # A free slot is given to the step that has waited longest, before its run has taken it.
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
    """While the block lasts: says, in the log and to this process's listeners, what the run waits for."""
    ended = threading.Event()

    def watch() -> None:
        told: dict[str, str] = {}
        while not ended.wait(WATCH_SECONDS):
            try:
                waits = pool_waits(instance, run_id, close_dead=True)
            except Exception as error:  # a database that is busy for a moment must not end the watch
                log.debug(f"cannot see what the run waits for: {error}")
                continue
            for step, reason in waits.items():
                if told.get(step) != reason:
                    Progress(step, [progress_logger(log)]).tell("waiting", message=reason)
            told = waits

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
