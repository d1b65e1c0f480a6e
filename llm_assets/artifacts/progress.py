"""Progress of a build, told to whoever listens: Dagster's log, the terminal, a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """One report. `kind` is warning, waiting, started, progress, cached, finished or failed."""

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
    """Hear every event of this process; returns the way to stop."""
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
    _first: int = 0

    def tell(self, kind: str, **fields: Any) -> None:
        event = Event(kind, self.key, **fields)
        for listener in [*self.listeners, *_listeners]:
            listener(event)

    def start(self, total: int, unit: str, done: int = 0) -> None:
        self.total, self.unit, self._first, self._began = total, unit, done, time.monotonic()
        self.tell(
            "progress",
            done=done,
            total=total,
            unit=unit,
            message=f"{done} kept from an interrupted build" if done else "",
        )

    def advance(self, done: int, stats: dict[str, Any] | None = None, message: str = "") -> None:
        """Report that `done` of the total are finished; the `pages` in `stats` are added up."""
        self._pages += int((stats or {}).get("pages", 0))
        seconds = time.monotonic() - self._began
        left = seconds / (done - self._first) * (self.total - done) if done > self._first and self.total else None
        self.tell(
            "progress",
            done=done,
            total=self.total,
            unit=self.unit,
            pages=self._pages,
            seconds=seconds,
            seconds_left=left,
            message=message,
        )


def human_size(count: float) -> str:
    """Bytes for a person, in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
