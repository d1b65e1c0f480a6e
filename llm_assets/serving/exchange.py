"""A request's way through the worker: from the route that received it to the events of its answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from llm_assets.model.encoding import Encoding

from .answers import Format, StreamFormat
from .errors import ApiError
from .jobs import Ended, Event, Job, Piece, Prompt, Started
from .pool import LoadedModel
from .protocol import StreamedRequest
from .service import Service


class Exchange:
    """A request that the worker is answering, and the answer's events as they come."""

    def __init__(self, job: Job, events: asyncio.Queue[Event], name: str, body: StreamedRequest):
        self.job, self.events, self.name, self.body = job, events, name, body

    @classmethod
    async def begin(
        cls,
        service: Service,
        body: StreamedRequest,
        prepare: Callable[[LoadedModel], list[Prompt]],
        choices: int,
    ) -> Exchange:
        """Hand a request to the worker. Raises ApiError."""
        name, folder = await asyncio.to_thread(service.checkpoints.find, body.model)
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(new: list[Event]) -> None:
            for event in new:
                events.put_nowait(event)

        def deliver(new: list[Event]) -> None:
            loop.call_soon_threadsafe(put, new)

        deadline = time.monotonic() + service.limits.seconds
        job = Job(prepare, folder, choices, deliver, deadline, bool(body.stream))
        service.worker.submit(job)
        return cls(job, events, name, body)

    async def answer(self, request: Request, kind: type[Format], scored: bool) -> Response:
        """The whole answer, or a stream once the request is admitted. Raises ApiError."""
        if self.job.streams:
            return await self.stream(request, lambda encoding: kind(self.name, encoding, scored))
        content = await asyncio.to_thread(_json, await self.body_of_answer(request, kind, scored))
        return Response(content, media_type="application/json")

    async def body_of_answer(self, request: Request, kind: type[Format], scored: bool) -> dict[str, Any]:
        """The body of the whole answer. Raises ApiError."""
        async with self._admitted(request) as model:
            answer_format = kind(self.name, model.encoding, scored)
            pieces: list[Piece] = []
            while not isinstance(event := await self._next(), Ended):
                assert isinstance(event, Piece)
                pieces.append(event)
        # With log-probabilities it is too large to be made in the event loop's thread.
        return await asyncio.to_thread(answer_format.whole, pieces, self.job.choices, event)

    async def stream(self, request: Request, new_format: Callable[[Encoding], StreamFormat]) -> Response:
        """A stream of server-sent events, once the request is admitted. Raises ApiError."""
        async with self._admitted(request) as model:
            return StreamingResponse(self._events(new_format(model.encoding)), media_type="text/event-stream")

    @asynccontextmanager
    async def _admitted(self, request: Request) -> AsyncIterator[LoadedModel]:
        """The request's model, once it is loaded. The job is cancelled if the client goes away meanwhile."""
        watch = asyncio.create_task(self._cancel_with(request))
        try:
            started = await self._next()
            assert isinstance(started, Started)
            yield started.model
        except BaseException:
            self.job.cancel()
            raise
        finally:
            watch.cancel()

    async def _cancel_with(self, request: Request) -> None:
        """Cancel the job if the client goes away."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.job.cancel()

    async def _next(self) -> Event:
        event = await self.events.get()
        if isinstance(event, ApiError):
            raise event
        return event

    async def _events(self, answer_format: StreamFormat) -> AsyncIterator[str]:
        """Server-sent events. An error ends them, since the status has been sent."""
        with_usage = self.body.includes_usage()
        extra = {"usage": None} if with_usage else {}
        try:
            for chunk in answer_format.beginning(self.job.choices):
                yield _event({**chunk, **extra})
            while not isinstance(event := await self._next(), Ended):
                assert isinstance(event, Piece)
                for chunk in answer_format.chunks(event):
                    yield _event({**chunk, **extra})
            for chunk in answer_format.ending(event, with_usage):
                yield _event(chunk)
            yield "data: [DONE]\n\n"
        except ApiError as error:
            yield _event(error.body())
        finally:  # also if the client has gone
            self.job.cancel()


def _event(value: dict[str, Any]) -> str:
    return f"data: {_json(value)}\n\n"


def _json(value: dict[str, Any]) -> str:
    """JSON in ASCII: some readers of event streams end a line at U+2028, U+2029 and U+0085."""
    return json.dumps(value, allow_nan=False)
