"""The Python tool: runs programs that a model writes, in an interpreter made for untrusted code.

pydantic-monty runs each program in a worker process with its own interpreter. A program has no files, network or
environment, and can import only a few modules. The interpreter limits time, memory, recursion and sleep; this module
limits the output. Whatever a program does, the model gets a text back. eval and exec are never used.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

PROGRAMS_PER_WORKER = 256


@dataclass(frozen=True)
class PythonLimits:
    """Limits of one program.

    seconds: run time. memory: bytes. recursion: stack frames. characters: length of the result that the model gets.
    """

    seconds: float = 1.0
    memory: int = 64 << 20
    recursion: int = 200
    characters: int = 400


class PythonTool:
    """Maps a program to what it prints and returns.

    Worker processes start with the first program, and stop with `close` or at the end of a `with` block. Safe to call
    from several threads.
    """

    GRACE = 1.0  # seconds; a worker that has not stopped this long after its time limit is killed

    def __init__(self, limits: PythonLimits | None = None):
        self.limits = limits or PythonLimits()
        self._pool: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> PythonTool:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None

    def _workers(self) -> Any:
        with self._lock:
            if self._pool is None:
                from pydantic_monty import Monty

                pool = Monty(
                    request_timeout=self.limits.seconds + 2 * self.GRACE,
                    feed_duration_limit_grace=self.GRACE,
                    max_checkouts_per_worker=PROGRAMS_PER_WORKER,
                )
                pool.__enter__()
                self._pool = pool
            return self._pool

    def __call__(self, program: str) -> str:
        """What the program printed, then the value of its last expression, or its error as ``Type: message``."""
        output = _CappedOutput(self.limits.characters + 1)  # one more than the limit shows whether to cut
        last_line = self._run(program, output)
        text = output.text()
        if last_line:
            text = f"{text.rstrip()}\n{last_line}" if text.strip() else last_line
        return text if len(text) <= self.limits.characters else f"{text[: self.limits.characters - 1]}…"

    def _run(self, program: str, output: _CappedOutput) -> str:
        """Run a program; returns its last value or its error as text."""
        from pydantic_monty import MontyError

        limits = {
            "max_feed_duration_secs": self.limits.seconds,
            "max_memory": self.limits.memory,
            "max_recursion_depth": self.limits.recursion,
            "max_total_sleep_secs": 0.0,  # without this limit, time.sleep really sleeps
        }
        try:
            with self._workers().checkout(limits=limits) as session:
                value = session.feed_run(program, print_callback=output.collect)
            return "" if value is None else str(value)
        except MontyError as error:
            return _error_line(error)
        except Exception as error:
            # A value without a text form (an integer of more than 4,300 digits), or a program that is not valid UTF-8.
            return f"{type(error).__name__}: {error}"


class _CappedOutput:
    """Collects what a program prints, up to a number of characters."""

    def __init__(self, characters: int):
        self._pieces: list[str] = []
        self._free = characters

    def collect(self, stream: str, text: str) -> None:
        self._pieces.append(text[: self._free])
        self._free -= min(len(text), self._free)

    def text(self) -> str:
        return "".join(self._pieces)


def _error_line(error: Exception) -> str:
    """The last line of an error's traceback, which holds type and message."""
    from pydantic_monty import MontySyntaxError

    lines = [line for line in str(error).splitlines() if line.strip()]
    last_line = lines[-1].strip() if lines else type(error).__name__
    if isinstance(error, MontySyntaxError) and not last_line.startswith("SyntaxError"):
        return f"SyntaxError: {last_line}"
    return last_line
