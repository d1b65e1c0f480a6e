"""The routes of the API. Bodies and answers are OpenAI's (`protocol`, `answers`)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from llm_assets import __version__
from llm_assets.settings import Settings, load_settings

from .answers import ChatFormat, CompletionFormat, Format
from .checkpoints import Checkpoints, Listed
from .errors import ApiError, invalid
from .explorer import add_explorer
from .jobs import Ended, Event, Job, Piece, Prompt, Started
from .limits import Limits
from .pool import LoadedModel
from .prompts import ServerTools, chat_prompts, completion_prompts, prompt_items
from .protocol import (
    ChatRequest,
    CompletionBody,
    CompletionRequest,
    ErrorBody,
    GenerationRequest,
    ModelBody,
    ModelList,
)
from .request_checks import RequestChecks
from .worker import Worker

OWNER = "llm-assets"
STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 500, 501, 503)
NO_EMBEDDINGS = (
    "the checkpoints are language models that were not trained to embed texts; their hidden states make poor embeddings"
)


@dataclass(frozen=True)
class Service:
    """What the routes need. tools: by name, those that the server can run. key: see `RequestChecks`.

    settings: where the data folder is, and where Dagster and MLflow are.
    """

    worker: Worker
    checkpoints: Checkpoints
    tools: ServerTools = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    key: str = ""
    local: bool = True
    settings: Settings = field(default_factory=load_settings)


def create_app(service: Service) -> FastAPI:
    """The application. It starts the worker, and stops it at the end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        yield
        await asyncio.to_thread(service.worker.stop)

    errors: dict[int | str, Any] = {status: {"model": ErrorBody} for status in STATUSES}
    # The interactive pages load scripts from elsewhere.
    app = FastAPI(title=OWNER, version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, responses=errors)
    _add_error_handlers(app)
    _add_completions(app, service)
    _add_models(app, service)
    if service.checkpoints.workspace is not None:
        answer = partial(_chat_answer, service)
        add_explorer(app, service.checkpoints.workspace, service.settings, service.checkpoints, answer)
    app.add_middleware(RequestChecks, limits=service.limits, key=service.key, local=service.local)
    return app


# Routes


def _add_completions(app: FastAPI, service: Service) -> None:
    # A stream's chunks and a whole answer are two types of one status; the schema names the whole one.
    @app.post("/v1/chat/completions", response_model=CompletionBody)
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """The assistant's answer to a conversation."""
        prepare = chat_prompts(body, service.tools, service.limits)
        exchange = await Exchange.begin(service, body, prepare, body.n or 1)
        return await exchange.answer(request, ChatFormat, bool(body.logprobs))

    @app.post("/v1/completions", response_model=CompletionBody)
    async def completions(request: Request, body: CompletionRequest) -> Response:
        """The continuation of documents."""
        prepare = completion_prompts(body, service.limits)
        choices = len(prompt_items(body.prompt)) * (body.n or 1)
        exchange = await Exchange.begin(service, body, prepare, choices)
        return await exchange.answer(request, CompletionFormat, body.logprobs is not None)

    @app.post("/v1/embeddings", status_code=501)
    async def embeddings() -> Response:
        """Refused: no checkpoint is an embedding model."""
        raise ApiError(501, NO_EMBEDDINGS, "unsupported")


async def _chat_answer(service: Service, request: Request, body: ChatRequest) -> dict[str, Any]:
    """The answer to a conversation, as the endpoint gives it. Raises ApiError."""
    exchange = await Exchange.begin(service, body, chat_prompts(body, service.tools, service.limits), 1)
    response = await exchange.answer(request, ChatFormat, False)
    return dict(json.loads(bytes(response.body)))


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", response_model=ModelList)
    async def models() -> dict[str, Any]:
        """The checkpoints of the recipe that are built, and the folders that the server was started with."""
        listed = await asyncio.to_thread(service.checkpoints.all)
        return {"object": "list", "data": [_model(item) for item in listed]}

    @app.get("/v1/models/{name:path}", response_model=ModelBody)
    async def model(name: str) -> dict[str, Any]:
        """One checkpoint, by any of its names."""
        found_name, folder = await asyncio.to_thread(service.checkpoints.find, name)
        return _model(Listed(found_name, int((folder / "shape.json").stat().st_mtime)))

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether requests can be answered, and how many there are."""
        if not service.worker.is_alive:
            raise ApiError(503, "the model's thread has ended", "unavailable")
        return {"status": "ok", **service.worker.counts()}


def _model(item: Listed) -> dict[str, Any]:
    return {"id": item.name, "object": "model", "created": item.created, "owned_by": OWNER}


# Errors


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> Response:
        return _error(error)

    @app.exception_handler(RequestValidationError)
    async def wrong_body(_: Request, error: RequestValidationError) -> Response:
        return _error(_validation_error(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        where = f"{request.method} {request.url.path[:200]}"
        return _error(ApiError(error.status_code, f"{where}: {error.detail}"))

    @app.exception_handler(Exception)
    async def internal_error(_: Request, error: Exception) -> Response:
        return _error(ApiError(500, f"an internal error: {type(error).__name__}; the server's log has more"))


def _error(error: ApiError) -> Response:
    # A surrogate in a message, as in a path of a request, is no UTF-8.
    content = json.dumps(error.body())
    return Response(content, error.status, error.headers(), "application/json")


def _validation_error(error: RequestValidationError) -> ApiError:
    """The first problem of a body, in one sentence; the body itself is not repeated."""
    problem = next(iter(error.errors()))
    place = [str(part) for part in problem["loc"] if part != "body"]
    name = ".".join(place)[:200]
    if problem["type"] == "extra_forbidden":
        return invalid(f"Unrecognized request argument supplied: {name}", name)
    if problem["type"] == "json_invalid":
        return invalid("the body is not JSON")
    return invalid(f"{name}: {problem['msg'][:300]}" if name else problem["msg"][:300], name or None)


# A request's way through the worker


class Exchange:
    """A request that the worker is answering, and the answer's events as they come."""

    def __init__(self, job: Job, events: asyncio.Queue[Event], name: str, body: GenerationRequest):
        self.job, self.events, self.name, self.body = job, events, name, body

    @classmethod
    async def begin(
        cls,
        service: Service,
        body: GenerationRequest,
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
        watch = asyncio.create_task(self._cancel_with(request))
        try:
            started = await self._next()
            assert isinstance(started, Started)
            answer_format = kind(self.name, started.model.encoding, scored)
            if self.job.streams:
                return StreamingResponse(self._stream(answer_format), media_type="text/event-stream")
            pieces: list[Piece] = []
            while not isinstance(event := await self._next(), Ended):
                assert isinstance(event, Piece)
                pieces.append(event)
            content = await asyncio.to_thread(answer_format.whole, pieces, self.job.choices, event)
            return JSONResponse(content)
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

    async def _stream(self, answer_format: Format) -> AsyncIterator[str]:
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
            if with_usage:
                yield _event(answer_format.usage_chunk(event))
            yield "data: [DONE]\n\n"
        except ApiError as error:
            yield _event(error.body())
        finally:  # also if the client has gone
            self.job.cancel()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
