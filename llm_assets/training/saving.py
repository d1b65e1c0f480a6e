"""Writes a training run's checkpoints: at once, or while the training goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class CheckpointWriter:
    """Writes one checkpoint at a time. background: in a thread, so that the training waits for the last one alone.

    What is written must not change any more: a snapshot of what a GPU holds. If writing fails, the next call raises.
    """

    def __init__(self, background: bool):
        self._thread = ThreadPoolExecutor(1, "checkpoints") if background else None
        self._pending: tuple[Future[None], Callable[[], None] | None] | None = None

    def submit(self, write: Callable[[], None], written: Callable[[], None] | None = None) -> None:
        """Write once the checkpoint before is written. written: called afterwards, by this thread."""
        self.wait()
        if self._thread is None:
            write()
            if written is not None:
                written()
        else:
            self._pending = self._thread.submit(write), written

    def wait(self) -> None:
        """Return once all checkpoints are written."""
        if self._pending is not None:
            (future, written), self._pending = self._pending, None
            future.result()
            if written is not None:
                written()
