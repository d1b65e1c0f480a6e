"""Ctrl-C ends a run at once, and the next one goes on from there.

Dagster looks at an interrupt only while a step runs in the main thread, so a run that waits for a pool would not hear it,
and one that is inside native code would hear it late. The work has a thread of its own; the main thread does nothing but
listen.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLEAN_UP_SECONDS = 5.0
INTERRUPTED = "interrupted; run again to resume"


class Interrupted(BaseException):
    """The process was told to end by this signal; the work still goes on in its thread."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def until_interrupted(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises. Raises Interrupted at the first SIGINT or SIGTERM, after which nothing is left but
    `end_process`."""
    outcome: Future[Result] = Future()

    def body() -> None:
        # A terminal sends Ctrl-C to every process of the run. Those that this thread starts inherit that they do not
        # hear it, and end when this process does, without a traceback each.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted(number)

    thread = threading.Thread(target=body, name="run", daemon=True)
    usual = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        thread.start()
        thread.join()  # to its very end: native libraries let go of what they keep for the thread
        return outcome.result()
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def end_process(number: int, stderr: int, clean_up: Callable[[], None]) -> None:
    """Say that the run was interrupted, clean up for five seconds at most, and end with the signal's exit code.

    The thread of the work cannot be stopped; the process ends as if it were killed, which every build is made for. A
    second signal ends it without cleaning up, which the next run does then.
    stderr: a descriptor of its own; while a step runs Dagster sends the process's to a file.
    """
    for again in SIGNALS:
        signal.signal(again, lambda *_: os._exit(128 + number))
    sys.stdout.flush()
    os.write(stderr, f"{INTERRUPTED}\n".encode())
    cleaner = threading.Thread(target=clean_up, daemon=True)
    cleaner.start()
    cleaner.join(CLEAN_UP_SECONDS)
    os._exit(128 + number)
