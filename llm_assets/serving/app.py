"""The routes of the API. Bodies and answers are OpenAI's (`protocol`, `answers`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from llm_assets import __version__

from .answers import ChatFormat, CompletionFormat
from .bounded_threads import BoundedThreads
from .errors import ApiError
from .exchange import Exchange
from .explorer import add_explorer
from .page_files import add_page
from .page_routes import add_page_routes
from .prompts import chat_prompts, completion_prompts, prompt_items
from .protocol import ChatRequest, CompletionBody, CompletionRequest, ErrorBody, ModelBody, ModelList
from .request_checks import RequestChecks
from .service import Service
from .validation_errors import unreadable_body, validation_error

OWNER = "llm-assets"
LOOKUPS = 2  # requests about models that are answered at a time; others wait
STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 500, 501, 503)
NO_EMBEDDINGS = (
    "the checkpoints are language models that were not trained to embed texts; their hidden states make poor embeddings"
)


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
    add_page_routes(app, service)
    add_page(app)
    if service.checkpoints.workspace is not None:
        answer = partial(_chat_answer, service)
        add_explorer(app, service.checkpoints.workspace, service, answer)
    app.add_middleware(RequestChecks, limits=service.limits, key=service.key, host=service.host)
    return app


# Routes


def _add_completions(app: FastAPI, service: Service) -> None:
    # A stream's chunks and a whole answer are two types of one status; the schema names the whole one.
    @app.post("/v1/chat/completions", response_model=CompletionBody)
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """The assistant's answer to a conversation."""
        exchange = await _begin_chat(service, body)
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
        raise ApiError(501, NO_EMBEDDINGS, "unsupported", is_permanent=True)


async def _chat_answer(service: Service, request: Request, body: ChatRequest) -> dict[str, Any]:
    """The answer to a conversation, as the endpoint gives it. Raises ApiError."""
    exchange = await _begin_chat(service, body)
    return await exchange.body_of_answer(request, ChatFormat, scored=False)


async def _begin_chat(service: Service, body: ChatRequest) -> Exchange:
    # In a thread: a search index that has been built meanwhile may be opened.
    prepare = await asyncio.to_thread(chat_prompts, body, service.tools, service.limits)
    return await Exchange.begin(service, body, prepare, body.n or 1)


def _add_models(app: FastAPI, service: Service) -> None:
    threads = BoundedThreads(LOOKUPS, service.limits.queue, "look up models")

    @app.get("/v1/models", response_model=ModelList)
    async def models() -> dict[str, Any]:
        """The checkpoints of the recipe that are built, and the folders that the server was started with."""
        listed = await threads.run(_listed_models, service)
        return {"object": "list", "data": listed, "max_tokens": service.limits.max_tokens}

    @app.get("/v1/models/{name:path}", response_model=ModelBody)
    async def model(name: str) -> dict[str, Any]:
        """One checkpoint, by any of its names."""
        return await threads.run(_model, service, name)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether requests can be answered, and how many there are."""
        if not service.worker.is_alive:
            raise ApiError(503, "the model's thread has ended", "unavailable")
        return {"status": "ok", **service.worker.counts()}


def _listed_models(service: Service) -> list[dict[str, Any]]:
    models = []
    for name in service.checkpoints.names():
        with contextlib.suppress(ApiError):  # deleted a moment ago, or broken
            models.append(_model(service, name))
    return models


def _model(service: Service, name: str) -> dict[str, Any]:
    """One checkpoint, as a list of models describes it. Raises ApiError."""
    facts = service.checkpoints.facts(name)
    return {
        "id": name,
        "object": "model",
        "created": facts.created,
        "owned_by": OWNER,
        "chat": facts.is_chat,
        "tools": [tool for tool in facts.tools if tool in service.tools],
        "context": facts.context,
        "default": name == service.checkpoints.default,
        "stale": service.checkpoints.is_stale(name),
    }


# Errors


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> Response:
        return _error(error)

    @app.exception_handler(RequestValidationError)
    async def wrong_body(_: Request, error: RequestValidationError) -> Response:
        return _error(validation_error(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400 and error.__cause__ is not None:  # FastAPI's: the body could not be parsed
            return _error(unreadable_body(error.__cause__))
        where = f"{request.method} {request.url.path[:200]}"
        response = _error(ApiError(error.status_code, f"{where}: {error.detail}"))
        response.headers.update(error.headers or {})  # Allow, where the method is wrong
        return response

    @app.exception_handler(Exception)
    async def internal_error(_: Request, error: Exception) -> Response:
        return _error(ApiError(500, f"an internal error: {type(error).__name__}; the server's log has more"))


def _error(error: ApiError) -> Response:
    # A message may have a surrogate, as in a path of a request, which is not UTF-8 unless it is escaped.
    content = json.dumps(error.body())
    return Response(content, error.status, error.headers(), "application/json")
