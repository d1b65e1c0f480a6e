"""How the endpoints read the store: in threads, a few at a time, with the errors of the library as statuses."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import duckdb

from llm_assets.artifacts import ArtifactError, Workspace
from llm_assets.artifacts.errors import NotBuilt
from llm_assets.curation.corpus import CorpusError
from llm_assets.locked_sql import LockedSqlError
from llm_assets.model.encoding import TokenizerError
from llm_assets.model.shape import ModelError
from llm_assets.preference.arena import AlreadyVoted
from llm_assets.preference.open_prompts import PreferenceError
from llm_assets.settings import Settings
from llm_assets.tracing import TraceError
from llm_assets.warc.records import WarcError

from ..bounded_threads import BoundedThreads
from ..errors import ApiError, invalid

READERS = 4  # requests that read at the same time
WAITING = 32  # requests that wait for them
REMEMBERED = 16  # values that took time to compute
HOUR = 3600.0  # for which what was computed from an artifact is not computed again
REMEMBERED_SECONDS = 10.0  # for which the state of the store is not computed again

Value = TypeVar("Value")


class Reader:
    """What the endpoints have in common. Safe to call from several threads."""

    def __init__(self, workspace: Workspace, settings: Settings):
        self.workspace, self.settings = workspace, settings
        self._threads = BoundedThreads(READERS, WAITING, "read the store")
        self._remembered: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    async def run(self, function: Callable[[], Value]) -> Value:
        """The value of a function, computed in a thread. Raises ApiError."""
        return await self._threads.run(with_statuses, function)

    def remembered(self, key: Hashable, make: Callable[[], Value], seconds: float = REMEMBERED_SECONDS) -> Value:
        """The value of `make`, computed once for a key in this time, however many threads ask for it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            with self._lock:
                since, value = self._remembered.get(key, (0.0, None))
                if since:
                    self._remembered.move_to_end(key)
            if since and time.monotonic() - since < seconds:
                return value  # type: ignore[no-any-return]
            value = make()
            with self._lock:
                self._remembered[key] = time.monotonic(), value
                self._remembered.move_to_end(key)
                while len(self._remembered) > REMEMBERED:
                    self._forget_lock(self._remembered.popitem(last=False)[0])
            return value

    def _forget_lock(self, key: Hashable) -> None:
        """Unless somebody computes the value again: then the lock goes with the new value."""
        if key in self._locks and not self._locks[key].locked():
            del self._locks[key]


def with_statuses(function: Callable[[], Value]) -> Value:
    """The value of a function. Raises ApiError for the errors of the library."""
    try:
        return function()
    except NotBuilt as error:
        raise ApiError(409, str(error), "not_built") from error
    except AlreadyVoted as error:
        raise ApiError(409, str(error), "already_voted", "comparison") from error
    except (CorpusError, LockedSqlError, PreferenceError, TraceError) as error:
        raise invalid(str(error)) from error
    except (ArtifactError, ModelError, TokenizerError, WarcError, duckdb.Error, OSError) as error:  # a file is damaged
        raise ApiError(503, str(error), "unavailable") from error
