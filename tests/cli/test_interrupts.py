"""Interrupts of work that runs in its own thread."""

import signal
import threading
import time

import pytest

from llm_assets.cli.interrupts import Interrupted, until_interrupted


def test_the_result_or_the_error_of_the_work_is_passed_on():
    def fail():
        raise LookupError("no such page")

    assert until_interrupted(lambda: 7) == 7
    with pytest.raises(LookupError, match="no such page"):
        until_interrupted(fail)


@pytest.mark.parametrize("to_worker", [False, True], ids=["to the waiting thread", "to the thread of the work"])
def test_a_signal_ends_the_wait_whichever_thread_the_kernel_gives_it_to(to_worker):
    """Python runs handlers in the main thread, which a signal to another thread does not wake from a lock."""
    released, waiting = threading.Event(), threading.get_ident()

    def work():
        time.sleep(0.5)  # until the main thread waits
        signal.pthread_kill(threading.get_ident() if to_worker else waiting, signal.SIGTERM)
        released.wait(30)

    began = time.monotonic()
    with pytest.raises(Interrupted) as raised:
        until_interrupted(work)
    released.set()
    assert raised.value.number == signal.SIGTERM and time.monotonic() - began < 15
