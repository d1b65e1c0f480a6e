"""Progress of a run for people: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field

from llm_assets.artifacts.progress import Event, subscribe

QUIET_SECONDS = 25.0  # without a terminal, the longest time without a line
FINAL_STATES = {"cached": "cached", "finished": "built", "failed": "failed"}  # of an artifact, by kind of event
STATE_COLOURS = {"cached": "cyan", "built": "green", "failed": "red", "running": "yellow"}


@dataclass
class Line:
    """The state of one artifact during the run."""

    state: str
    event: Event
    warning: str = ""
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def is_done(self) -> bool:
        return self.state in FINAL_STATES.values()


def note(line: Line) -> str:
    """The text at the end of an artifact's line: its warning, and its latest message while it runs."""
    from rich.markup import escape

    shows_message = line.state in ("running", "waiting") and line.event.kind != "warning"
    message = escape(line.event.message) if shows_message else ""
    warning = f"[yellow]warning: {escape(line.warning)}[/]" if line.warning else ""
    return "; ".join(text for text in (warning, message) if text)


class Display:
    """Shows the progress of every build in this process. Use it as a context manager."""

    def __init__(self, live: bool):
        from rich.console import Console
        from rich.live import Live

        self.lines: dict[str, Line] = {}
        # A duplicate, because Dagster redirects this process's standard output to a log file while a step runs.
        stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
        self.console = Console(file=stream, highlight=False, force_terminal=live, soft_wrap=not live)
        self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=4) if live else None
        self._ended = threading.Event()
        self._began = self._printed = time.monotonic()

    def __call__(self, event: Event) -> None:
        line = self.lines.get(event.key)
        if event.kind in ("waiting", "progress") and line is not None and line.is_done:
            return  # the thread that watches Dagster's pools may report a short step as waiting after it has finished
        state = FINAL_STATES.get(event.kind, "waiting" if event.kind == "waiting" else "running")
        line = self.lines.setdefault(event.key, Line(state, event))
        line.state, line.event = state, event
        if event.kind == "warning":
            line.warning = event.message
        if event.kind in FINAL_STATES:
            line.seconds = event.seconds
        if self.live is None and (event.kind != "progress" or time.monotonic() - self._printed >= QUIET_SECONDS):
            self._print(event.text())

    def _print(self, text: str) -> None:
        self._printed = time.monotonic()
        self.console.print(text, markup=False)

    def _break_silence(self) -> None:
        """Print a line after `QUIET_SECONDS` without one: a step or a check may report nothing for minutes."""
        while not self._ended.wait(max(0.0, self._printed + QUIET_SECONDS - time.monotonic())):
            now = time.monotonic()
            if now - self._printed >= QUIET_SECONDS:
                self._print(self._still_running(now))

    def _still_running(self, now: float) -> str:
        running = [(key, line) for key, line in list(self.lines.items()) if not line.is_done]
        if not running:
            return f"still running after {now - self._began:.0f} s"
        key, line = running[-1]
        progress = f"{line.event.text()}, " if line.event.kind in ("progress", "waiting") else f"{key}: "
        return f"{progress}{line.state} for {now - line.began:.0f} s"

    def table(self) -> object:
        """All artifacts of the run, as a rich table."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("artifact", "state", "progress", "pages", "pages/s", "seconds", "left", ""):
            table.add_column(name, justify="left" if name in ("artifact", "state", "") else "right")
        for key, line in self.lines.items():
            event, is_running = line.event, line.state == "running"
            table.add_row(
                key,
                f"[{STATE_COLOURS.get(line.state, 'white')}]{line.state}[/]",
                f"{event.done}/{event.total} {event.unit}" if event.total else "",
                f"{event.pages:,}" if event.pages else "",
                f"{event.pages_per_second:,.0f}" if event.pages_per_second and is_running else "",
                f"{line.seconds:.2f}" if line.is_done else f"{time.monotonic() - line.began:.0f}",
                f"{event.seconds_left:.0f} s" if event.seconds_left is not None and is_running else "",
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
    """Print the artifacts (unless the live table shows them), the checks with their results, and totals.

    checks: name, whether it passed, and its summary.
    """
    from rich.table import Table

    if display.live is None:
        table = Table(title=None, box=None, pad_edge=False)
        for name in ("artifact", "state", "seconds", "pages"):
            table.add_column(name, justify="right" if name in ("seconds", "pages") else "left", no_wrap=True)
        for key, line in display.lines.items():
            table.add_row(key, line.state, f"{line.seconds:.2f}", f"{line.event.pages:,}" if line.event.pages else "")
        display.console.print(table)
    for name, passed, summary in checks:
        mark, style = ("✓", None) if passed else ("✗", "yellow")
        display.console.print(f"{mark} {name}: {summary}", style=style, markup=False)
    states = [line.state for line in display.lines.values()]
    failed = sum(not passed for _, passed, _ in checks)
    built, cached = states.count("built"), states.count("cached")
    display.console.print(f"{built} built, {cached} cached, {failed} of {len(checks)} checks failed, {seconds:.1f} s")
