"""Progress of a run for a person: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field

from llm_assets.artifacts.progress import Event, subscribe

QUIET_SECONDS = 25.0  # without a terminal: after so long without a line, one says how far it is
DONE = {"cached": "cached", "finished": "built", "failed": "failed"}


@dataclass
class Line:
    """One artifact's state as the run goes on."""

    state: str
    event: Event
    warning: str = ""
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)


def note(line: Line) -> str:
    """What stands at the end of an artifact's line: its warning as long as it is shown, its message while it runs."""
    from rich.markup import escape

    shown = line.state in ("running", "waiting") and line.event.kind != "warning"
    message = escape(line.event.message) if shown else ""
    warning = f"[yellow]warning: {escape(line.warning)}[/]" if line.warning else ""
    return "; ".join(text for text in (warning, message) if text)


class Display:
    """Hears the progress of every build of this process."""

    def __init__(self, live: bool):
        from rich.console import Console
        from rich.live import Live

        self.lines: dict[str, Line] = {}
        # A stream of our own: while a step runs, Dagster sends this process's standard output to the step's log file.
        stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
        self.console = Console(file=stream, highlight=False, force_terminal=live, soft_wrap=not live)
        self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=4) if live else None
        self._ended = threading.Event()
        self._began = self._printed = time.monotonic()

    def __call__(self, event: Event) -> None:
        state = DONE.get(event.kind, "waiting" if event.kind == "waiting" else "running")
        line = self.lines.setdefault(event.key, Line(state, event))
        line.state, line.event = state, event
        if event.kind == "warning":
            line.warning = event.message
        if event.kind in DONE:
            line.seconds = event.seconds
        if self.live is None and (event.kind != "progress" or time.monotonic() - self._printed >= QUIET_SECONDS):
            self._print(event.text())

    def _print(self, text: str) -> None:
        self._printed = time.monotonic()
        self.console.print(text, markup=False)

    def _break_silence(self) -> None:
        """A step, or a check of what it built, may tell nothing for minutes: say then that the run goes on."""
        while not self._ended.wait(max(0.0, self._printed + QUIET_SECONDS - time.monotonic())):
            now = time.monotonic()
            if now - self._printed >= QUIET_SECONDS:
                running = [(key, line) for key, line in list(self.lines.items()) if line.state not in DONE.values()]
                if running:
                    key, line = running[-1]
                    so_far = f"{line.event.text()}, " if line.event.kind in ("progress", "waiting") else f"{key}: "
                    self._print(f"{so_far}{line.state} for {now - line.began:.0f} s")
                else:
                    self._print(f"the run goes on after {now - self._began:.0f} s")

    def table(self) -> object:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("artifact", "state", "progress", "pages", "pages/s", "seconds", "left", ""):
            table.add_column(name, justify="left" if name in ("artifact", "state", "") else "right")
        for key, line in self.lines.items():
            event, running = line.event, line.state == "running"
            colour = {"cached": "cyan", "built": "green", "failed": "red", "running": "yellow"}.get(line.state, "white")
            table.add_row(
                key,
                f"[{colour}]{line.state}[/]",
                f"{event.done}/{event.total} {event.unit}" if event.total else "",
                f"{event.pages:,}" if event.pages else "",
                f"{event.pages_per_second:,.0f}" if event.pages_per_second and running else "",
                f"{line.seconds:.2f}" if line.state in DONE.values() else f"{time.monotonic() - line.began:.0f}",
                f"{event.seconds_left:.0f} s" if event.seconds_left is not None and running else "",
                note(line),
            )
        return table

    def __enter__(self) -> Display:
        self._unsubscribe = subscribe(self)
        if self.live is not None:
            self.live.__enter__()
        else:
            threading.Thread(target=self._break_silence, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._unsubscribe()
        if self.live is not None:
            self.live.__exit__(*error)  # type: ignore[arg-type]


def summarise(display: Display, checks: list[tuple[str, bool, str]], seconds: float) -> None:
    """Artifacts with state, seconds and pages; checks with what they found; how many of each."""
    from rich.table import Table

    if display.live is None:
        table = Table(title=None, box=None, pad_edge=False)
        for name in ("artifact", "state", "seconds", "pages"):
            table.add_column(name, justify="right" if name in ("seconds", "pages") else "left", no_wrap=True)
        for key, line in display.lines.items():
            table.add_row(key, line.state, f"{line.seconds:.2f}", f"{line.event.pages:,}" if line.event.pages else "")
        display.console.print(table)
    for name, passed, description in checks:
        display.console.print(
            f"{'✓' if passed else '✗'} {name}: {description}", style=None if passed else "yellow", markup=False
        )
    states = [line.state for line in display.lines.values()]
    failed = sum(not passed for _, passed, _ in checks)
    built, cached = states.count("built"), states.count("cached")
    display.console.print(f"{built} built, {cached} cached, {failed} checks not passed, {seconds:.1f} s")
