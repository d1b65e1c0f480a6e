"""Files that show other processes which work is alive.

A process locks a file with flock while it works. The system releases the lock when the process ends, however it ends,
and only a process that ends in order removes its file: a file that nobody locks was left by a process that was killed.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def announce(path: Path, text: str = "") -> Iterator[None]:
    """Keep a file with this text locked while the block runs and this process lives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        temporary.rename(path)  # locked before another process can see it
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def state_of(path: Path) -> str:
    """``alive``, ``killed``, or ``over``, which is also that of a file that was never there."""
    try:
        with path.open("r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return "alive"
            return "killed" if path.exists() else "over"  # it may have ended while we opened the file
    except FileNotFoundError:
        return "over"
