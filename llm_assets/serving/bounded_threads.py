"""Functions that are run in threads of their own, a few at a time, while a few others wait for their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from .errors import RETRY_SECONDS, ApiError

Result = TypeVar("Result")


class BoundedThreads:
    """running: functions that run at a time. waiting: others that may wait. doing: what they do, for the message."""

    def __init__(self, running: int, waiting: int, doing: str):
        self.most, self.doing = running + waiting, doing
        self.accepted = 0
        self._turns = asyncio.Semaphore(running)
        # Not asyncio's own threads: slow functions here would keep those of other endpoints waiting.
        self._executor = ThreadPoolExecutor(running, thread_name_prefix=doing)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The function's result. Raises ApiError (429) if too many wait."""
        if self.accepted >= self.most:
            message = f"{self.accepted} requests {self.doing} or wait for it; try again later"
            raise ApiError(429, message, "rate_limit_exceeded", retry_after=RETRY_SECONDS)
        self.accepted += 1
        try:
            async with self._turns:
                return await asyncio.get_running_loop().run_in_executor(self._executor, partial(function, *arguments))
        finally:
            self.accepted -= 1
