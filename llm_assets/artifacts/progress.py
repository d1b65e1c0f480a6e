"""Progress of a build, reported to listeners: Dagster's log, the terminal, a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """A progress report.

    kind: warning, waiting, started, progress, cached, finished or failed. done, total: in `unit`.
    pages: pages handled so far. seconds, seconds_left: time since the start, and the estimate of the rest.
    """

    kind: str
    key: str
    done: int = 0
    total: int = 0
    unit: str = ""
    pages: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    message: str = ""

    @property
    def pages_per_second(self) -> float | None:
        return self.pages / self.seconds if self.pages and self.seconds > 0 and self.kind != "cached" else None

    def text(self) -> str:
        """One line for a log."""
        line = f"{self.key}: {self.kind}"
        if self.total:
            line += f" {self.done}/{self.total} {self.unit}"
        if self.pages:
            line += f", {self.pages:,} pages"
        if self.pages_per_second:
            line += f", {self.pages_per_second:,.0f} pages/s"
        if self.seconds_left is not None:
            line += f", {self.seconds_left:.0f} s left"
        between = " " if self.kind == "waiting" else ": "  # "waiting for …"
        return f"{line}{between}{self.message}" if self.message else line


Listener = Callable[[Event], None]
_listeners: list[Listener] = []


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call the listener with every event of this process. Returns a function that unsubscribes it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


@dataclass
class Progress:
    """The progress of one artifact's build."""

    key: str
    listeners: list[Listener] = field(default_factory=list)
    total: int = 0
    unit: str = ""
    _pages: int = 0
    _began: float = field(default_factory=time.monotonic)
    _done_before: int = 0

    def report(self, kind: str, **fields: Any) -> None:
        """Send an event to this build's listeners and to the subscribers of the process."""
        event = Event(kind, self.key, **fields)
        for listener in [*self.listeners, *_listeners]:
            listener(event)

    def start(self, total: int, unit: str, done: int = 0) -> None:
        """Report how much there is to do. done: how much an interrupted build has done already."""
        self.total, self.unit, self._done_before, self._began = total, unit, done, time.monotonic()
        self.report(
            "progress",
            done=done,
            total=total,
            unit=unit,
            message=f"{done} done by an interrupted build" if done else "",
        )

    def advance(self, done: int, stats: dict[str, Any] | None = None, message: str = "") -> None:
        """Report that `done` of the total are finished. The `pages` of all `stats` are added up."""
        self._pages += int((stats or {}).get("pages", 0))
        seconds = time.monotonic() - self._began
        seconds_left = None
        if done > self._done_before and self.total:
            seconds_left = seconds / (done - self._done_before) * (self.total - done)
        self.report(
            "progress",
            done=done,
            total=self.total,
            unit=self.unit,
            pages=self._pages,
            seconds=seconds,
            seconds_left=seconds_left,
            message=message,
        )


def human_size(count: float) -> str:
    """A number of bytes for a person, in powers of 1,000: ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
