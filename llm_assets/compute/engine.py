"""Fans the parts of a step out over worker processes. Same functions, same outputs for any number of workers."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool


class WorkerDied(RuntimeError):
    """A worker process was killed (out of memory, most often)."""


def cores() -> int:
    """CPU cores this process may use (respects affinity, which containers set)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Objects between two looks for cycles. Pages become millions of short-lived strings and lists without cycles: at
# Python's 700, looking takes 12 % of extraction.
GARBAGE_THRESHOLD = (50_000, 20, 20)


def _start_worker() -> None:
    """Exit as soon as the parent is gone, so that a killed run leaves nobody writing; look for cycles less often."""
    gc.set_threshold(*GARBAGE_THRESHOLD)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


class LocalEngine:
    """Runs parts on `workers` processes of this machine; one worker means this process itself.

    Workers are spawned, not forked: a forked child would hold the store's build lock after its parent was killed,
    and polars' threads do not survive a fork.
    """

    def __init__(self, workers: int | None = None):
        self.workers = max(1, workers if workers is not None else cores())

    def run(self, work: Callable[..., None], tasks: Mapping[str, tuple]) -> Iterator[str]:
        """Call ``work(*tasks[name])`` for every name; yield names as they finish. The first error ends it all."""
        if self.workers == 1 or len(tasks) <= 1:
            for name, arguments in tasks.items():
                usual = gc.get_threshold()
                gc.set_threshold(*GARBAGE_THRESHOLD)
                try:
                    work(*arguments)
                finally:
                    gc.set_threshold(*usual)
                yield name
            return
        pool = _pool(self.workers)
        count = min(self.workers, len(tasks))
        queue = iter(tasks.items())
        running: dict[Future, str] = {}
        try:
            # Two tasks a worker are in flight: a thousand queued ones would all hold their arguments.
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
                            f"a worker died while {name} was in work: killed, or out of memory; lower LLM_ASSETS_WORKERS (now {self.workers})"
                        ) from error
                    upcoming = next(queue, None)
                    if upcoming is not None:
                        running[pool.submit(work, *upcoming[1])] = upcoming[0]
                    yield name
        except BaseException:
            # Nobody may write into the staging folder once this has returned.
            _drop(pool)
            raise


_pools: dict[int, ProcessPoolExecutor] = {}
_pools_lock = threading.Lock()


def _pool(workers: int) -> ProcessPoolExecutor:
    """Worker processes that stay for the next step: starting two and importing what they need takes 2 to 3 seconds."""
    with _pools_lock:
        if workers not in _pools:
            _pools[workers] = ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), initializer=_start_worker
            )
        return _pools[workers]


def _drop(pool: ProcessPoolExecutor) -> None:
    with _pools_lock:
        for workers in [workers for workers, one in _pools.items() if one is pool]:
            del _pools[workers]
    pool.shutdown(wait=True, cancel_futures=True)
