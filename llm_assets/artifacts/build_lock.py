"""The locks of builds in a local folder: files that are held with flock, and tell who holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Build:
    """A build in progress: the artifact's key, the process, its start (UTC, ISO 8601), and the file that it locks.

    lock: None for a build of another machine.
    """

    key: str
    holder: str
    since: str
    lock: Path | None


def build_holder(run_id: str | None) -> tuple[str, str]:
    """What this process tells about itself to those who wait for its build: its name, and the time (UTC, ISO 8601)."""
    process = f"process {os.getpid()} on {os.uname().nodename}"
    return f"run {run_id[:8]} ({process})" if run_id else process, datetime.now(UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def held(lock: int, path: Path, key: str, on_wait: Callable[[str], None] | None, run_id: str | None) -> Iterator[None]:
    """Hold an open lock file, whose descriptor this closes. The kernel releases it when the holder dies.

    key: of the artifact. on_wait: called once, with the current holder, if another process holds the lock. run_id: the
    Dagster run, to show to those who wait.
    """
    try:
        waited = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited and on_wait is not None:
                    on_wait(_build(lock, path).holder)
                waited = True
                time.sleep(_POLL_SECONDS)
        with contextlib.suppress(OSError):  # only a courtesy: the lock holds even if the disk is full
            holder, since = build_holder(run_id)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{holder}\n{key}\n{since}".encode(), 0)
        yield
    finally:
        os.close(lock)


def builds_below(folder: Path) -> list[Build]:
    """The builds whose lock files in a folder are held."""
    builds = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            builds.append(_build(lock, path))
        finally:
            os.close(lock)
    return builds


def _build(lock: int, path: Path) -> Build:
    """What the holder of a lock has written about itself; it may not have done so yet."""
    holder, key, since, *_ = [*os.pread(lock, 500, 0).decode("utf-8", "replace").split("\n"), "", "", ""]
    return Build(key or "an artifact", holder or "another process", since, path)
