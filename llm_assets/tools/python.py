"""The Python tool: programs that a model writes, in an interpreter made for code that nobody trusts.

pydantic-monty runs each program in a worker process of its own interpreter: no files, no network, no environment, no import beyond
its few modules; time, memory, recursion and sleep are bounded there, the output here. Whatever a program does, the model gets a
text back. Never eval or exec.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PythonLimits:
    """seconds of running; bytes of memory; frames of recursion; characters of what the model is given back."""

    seconds: float = 1.0
    memory: int = 64 << 20
    recursion: int = 200
    characters: int = 400


class PythonTool:
    """A function from programs to what they print and give. Its worker processes start with the first program, and end with `close`
    (or the end of a `with` block). Safe to call from several threads.
    """

    GRACE = 1.0  # seconds past its limit after which a worker is killed that did not stop by itself

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
                    max_checkouts_per_worker=256,
                )
                pool.__enter__()
                self._pool = pool
            return self._pool

    def __call__(self, program: str) -> str:
        """What the program printed, then the value of its last expression, or its error as ``Type: message``."""
        from pydantic_monty import MontyError, MontySyntaxError

        printed: list[str] = []
        room = self.limits.characters + 1  # one more than is given back, to see that something was cut

        def collect(stream: str, text: str) -> None:
            nonlocal room
            printed.append(text[:room])
            room -= min(len(text), room)

        # max_total_sleep_secs: without it, time.sleep sleeps.
        limits = {
            "max_feed_duration_secs": self.limits.seconds,
            "max_memory": self.limits.memory,
            "max_recursion_depth": self.limits.recursion,
            "max_total_sleep_secs": 0.0,
        }
        try:
            with self._workers().checkout(limits=limits) as session:
                value = session.feed_run(program, print_callback=collect)
            last = "" if value is None else str(value)
        except MontyError as error:
            last = next(
                (line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__
            ).strip()
            if isinstance(error, MontySyntaxError) and not last.startswith("SyntaxError"):
                last = f"SyntaxError: {last}"
        except (
            Exception
        ) as error:  # values that have no text (integers of more than 4,300 digits), names that are no text
            last = f"{type(error).__name__}: {error}"
        text = "".join(printed)
        if last:
            text = f"{text.rstrip()}\n{last}" if text.strip() else last
        return text if len(text) <= self.limits.characters else f"{text[: self.limits.characters - 1]}…"
