"""Ctrl-C ends a run at once, and the next run resumes it.

Dagster handles an interrupt only while a step runs in the main thread. A run that waits for a pool would ignore it, and
a run inside native code would notice it late. So the work runs in its own thread, and the main thread only waits for
signals.
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
# Python runs signal handlers in the main thread, but the kernel may give a signal to any thread of the process, which
# does not wake the main thread. So it wakes by itself this often.
WAKE_SECONDS = 0.2
INTERRUPTED = "interrupted; run again to resume"


class Interrupted(BaseException):
    """The process received this signal. The work still runs in its thread."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def until_interrupted(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread and return or raise what it does.

    Raises Interrupted at the first SIGINT or SIGTERM. The caller can then do nothing but call `end_process`.
    """
    outcome: Future[Result] = Future()

    def body() -> None:
        # A terminal sends Ctrl-C to every process of the run. Processes that this thread starts inherit the blocked
        # signal. They end together with this process, instead of printing a traceback each.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted(number)

    thread = threading.Thread(target=body, name="run", daemon=True)
    previous_handlers = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        thread.start()
        while thread.is_alive():  # until the thread is gone: native libraries release what they hold for it
            thread.join(WAKE_SECONDS)
        return outcome.result()
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def end_process(number: int, stderr: int, clean_up: Callable[[], None]) -> None:
    """Print that the run was interrupted, clean up for at most five seconds, and exit with the signal's exit code.

    The thread of the work cannot be stopped, so the process ends as if it had been killed, which every build survives.
    A second signal ends it without cleaning up; the next run does that instead.
    stderr: a duplicate of the descriptor; while a step runs, Dagster redirects the process's own to a file.
    """
    for signal_number in SIGNALS:
        signal.signal(signal_number, lambda *_: os._exit(128 + number))
    sys.stdout.flush()
    os.write(stderr, f"{INTERRUPTED}\n".encode())
    cleaner = threading.Thread(target=clean_up, daemon=True)
    cleaner.start()
    cleaner.join(CLEAN_UP_SECONDS)
    os._exit(128 + number)
