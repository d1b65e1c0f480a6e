"""Folders that several tests read and that are built once for all worker processes of a test session."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.isolation import isolate


def session_root(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of the whole session: with pytest-xdist, the parent of each worker's own."""
    root = factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@contextlib.contextmanager
def shared_folder(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """The folder `name` of the session, locked against other workers, with the project's data in `data` below it.

    The first worker builds what it needs there; the others wait for it and find everything built.
    """
    folder = session_root(factory) / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock, pytest.MonkeyPatch.context() as monkeypatch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        isolate(monkeypatch, folder / "data")
        yield folder


def file_times(folder: Path) -> dict[Path, int]:
    """When each file below a folder was last written, in nanoseconds: equal before and after if nothing was changed."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
