"""Runs the tasks of a step on worker processes. The outputs do not depend on the number of workers."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool


class WorkerDied(RuntimeError):
    """A worker process was killed, most often because it ran out of memory."""


def cores() -> int:
    """The number of CPU cores that this process may use. Respects CPU affinity, which containers set."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Allocations between two collections of the cyclic garbage collector. Pages become millions of short-lived strings and
# lists without cycles: at Python's default of 700, collections take 12 % of the extraction time.
GARBAGE_THRESHOLD = (50_000, 20, 20)


def _start_worker() -> None:
    """Collect cycles less often, and exit when the parent is gone, so that no worker of a killed run keeps writing."""
    gc.set_threshold(*GARBAGE_THRESHOLD)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


class LocalEngine:
    """Runs tasks on `workers` processes of this machine. With one worker, tasks run in this process.

    Workers are spawned, not forked: a forked child would hold the store's build lock after its parent was killed, and
    polars' threads do not survive a fork.
    """

    shares_disk = True

    def __init__(self, workers: int | None = None):
        self.workers = max(1, workers if workers is not None else cores())

    @property
    def on_this_machine(self) -> LocalEngine:
        return self

    def run(
        self, work: Callable[..., None], tasks: Mapping[str, tuple], sizes: Mapping[str, int] | None = None
    ) -> Generator[str]:
        """Call ``work(*tasks[name])`` for every name, and yield each name when its task finishes.

        sizes: ignored; the workers share the memory of this machine. The first error stops all tasks. Raises
        WorkerDied if a worker process is killed.
        """
        if self.workers == 1 or len(tasks) <= 1:
            for name, arguments in tasks.items():
                default_threshold = gc.get_threshold()
                gc.set_threshold(*GARBAGE_THRESHOLD)
                try:
                    work(*arguments)
                finally:
                    gc.set_threshold(*default_threshold)
                yield name
            return
        pool = _pool(self.workers)
        count = min(self.workers, len(tasks))
        queue = iter(tasks.items())
        running: dict[Future, str] = {}
        try:
            # Each worker has at most two tasks in flight: a thousand queued tasks would all hold their arguments.
            for name, arguments in queue:
                running[pool.submit(work, *arguments)] = name
                if len(running) >= 2 * count:
                    break
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    try:
                        future.result()
                    except BrokenProcessPool as error:
                        raise WorkerDied(
                            f"a worker died while it ran {name}: killed, or out of memory; "
                            f"lower LLM_ASSETS_WORKERS (now {self.workers})"
                        ) from error
                    upcoming = next(queue, None)
                    if upcoming is not None:
                        running[pool.submit(work, *upcoming[1])] = upcoming[0]
                    yield name
        except BaseException:
            # No worker may write into the staging folder after this call.
            _drop(pool)
            raise


_pools: dict[int, ProcessPoolExecutor] = {}
_pools_lock = threading.Lock()


def _pool(workers: int) -> ProcessPoolExecutor:
    """Worker processes, kept for the next step: starting two of them and their imports takes 2 to 3 seconds."""
    with _pools_lock:
        if workers not in _pools:
            _pools[workers] = ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), initializer=_start_worker
            )
        return _pools[workers]


def _drop(pool: ProcessPoolExecutor) -> None:
    """Shut a pool down once its running tasks have ended, and forget it."""
    with _pools_lock:
        for workers in [workers for workers, known in _pools.items() if known is pool]:
            del _pools[workers]
    pool.shutdown(wait=True, cancel_futures=True)
