"""Without a terminal, a run is never silent for long. Warnings stay visible."""

import io
import time
from itertools import pairwise

import pytest
from rich.console import Console

from llm_assets.artifacts.progress import Event, Progress
from llm_assets.cli import display
from llm_assets.cli.display import Display

QUIET = 0.2
LATE = 0.5  # seconds by which a busy machine may be late


@pytest.fixture
def printed(monkeypatch):
    """(seconds, text) of each line that a display prints."""
    monkeypatch.setattr(display, "QUIET_SECONDS", QUIET)
    lines = []
    monkeypatch.setattr(Console, "print", lambda console, text, **options: lines.append((time.monotonic(), str(text))))
    return lines


def longest_silence(printed, began, ended):
    times = [began, *(when for when, _ in printed), ended]
    return max(later - earlier for earlier, later in pairwise(times))


def test_a_silent_step_is_reported_as_running(printed):
    with Display(live=False):
        Progress("letters/a").report("started")
        began = time.monotonic()
        time.sleep(5 * QUIET)
        ended = time.monotonic()
    assert printed[0][1] == "letters/a: started"
    assert len(printed) >= 3 and all(text.startswith("letters/a: running for ") for _, text in printed[1:])
    assert longest_silence(printed[1:], began, ended) < QUIET + LATE


def test_progress_is_printed_often_enough_and_not_more_often(printed):
    began = time.monotonic()
    with Display(live=False):
        progress = Progress("letters/a")
        progress.start(1_000, "files")
        for done in range(1, 101):
            progress.advance(done)
            time.sleep(5 * QUIET / 100)
    ended = time.monotonic()
    assert longest_silence(printed, began, ended) < QUIET + LATE
    assert any("progress" in text and "/1000 files" in text for _, text in printed)
    assert len(printed) <= (ended - began) / QUIET + 2


def test_a_run_between_two_steps_is_reported_as_running(printed):
    with Display(live=False):
        Progress("letters/a").report("finished", seconds=1.0)
        time.sleep(3 * QUIET)
    assert printed[0][1] == "letters/a: finished" and printed[1][1].startswith("still running after ")


def test_nothing_is_printed_after_the_end(printed):
    with Display(live=False):
        Progress("letters/a").report("started")
    count = len(printed)
    time.sleep(2 * QUIET)
    assert len(printed) == count


def test_a_warning_stays_visible_until_the_end():
    display = Display(live=True)
    display(Event("warning", "total", message="without b [1], which nobody has built"))
    assert display.lines["total"].state == "running"
    display(Event("progress", "total", done=1, total=2, unit="steps", message="first"))
    assert "warning: without b [1], which nobody has built; first" in text_of(display)
    display(Event("finished", "total", seconds=1.0))
    assert "warning: without b [1], which nobody has built" in text_of(display) and "waiting" not in text_of(display)


def text_of(display):
    stream = io.StringIO()
    Console(file=stream, width=200).print(display.table())
    return stream.getvalue()


@pytest.mark.parametrize("final, state", [("finished", "built"), ("cached", "cached"), ("failed", "failed")])
def test_an_artifact_that_is_done_is_not_shown_as_waiting(final, state):
    """Another thread reports which steps wait for a pool, and a short step may have finished in the meantime."""
    with Display(live=False) as display:
        progress = Progress("practice_problems")
        progress.report(final)
        progress.report("waiting", message="for the pool 'cpu'")
        assert display.lines["practice_problems"].state == state
        progress.report("started")
        assert display.lines["practice_problems"].state == "running"
