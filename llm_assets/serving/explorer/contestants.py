"""Models as votes name them, and their answers to a question that a person asks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request

from llm_assets.artifacts.record import RECORD, Record, file_digest
from llm_assets.preference.arena import Comparison, Contestant

from ..checkpoints import Checkpoints
from ..errors import ApiError, invalid
from ..limits import Limits
from ..protocol import ChatMessage, ChatRequest
from .reading import HOUR, Reader

# The answer to a request, as ``/v1/chat/completions`` gives it.
ChatAnswer = Callable[[Request, ChatRequest], Coroutine[Any, Any, dict[str, Any]]]
DEFAULT_ANSWER = 256  # tokens
WEIGHTS = "*.safetensors"
DIGITS = 16  # of the digest that stands for the identity of a folder outside the store


def contestant(reader: Reader, checkpoints: Checkpoints, name: str) -> Contestant:
    """The model of this name. Its identity is that of its artifact, or the digest of its weights. Raises ApiError."""
    name, folder = checkpoints.find(name)
    record = folder / RECORD
    if record.is_file():
        return Contestant(name, Record.load(record.read_bytes(), str(record)).short_id)
    weights = min(folder.glob(WEIGHTS), default=None)
    if weights is None:
        raise ApiError(404, f"model {name!r} has no weights", "model_not_found", "model")
    stat = weights.stat()
    key = ("contestant", weights, stat.st_mtime_ns, stat.st_size)
    return Contestant(name, reader.remembered(key, lambda: file_digest(weights)[:DIGITS], HOUR))


def chat_request(question: str, limits: Limits, max_tokens: int | None, **fields: Any) -> ChatRequest:
    """A request for answers to a question. Raises ApiError if it is empty.

    max_tokens: None is as many as a person likes to read, unless the server allows fewer. fields: of `ChatRequest`.
    """
    if not question.strip():
        raise invalid("the question is empty", "question")
    if max_tokens is None:
        max_tokens = min(DEFAULT_ANSWER, limits.max_tokens)
    messages = [ChatMessage(role="user", content=question)]
    return ChatRequest(messages=messages, max_tokens=max_tokens, **fields)


def names_question(answer: ChatAnswer) -> ChatAnswer:
    """The same answers; errors name the field `question` where the conversation that was made of it is wrong."""

    async def answer_question(request: Request, body: ChatRequest) -> dict[str, Any]:
        try:
            return await answer(request, body)
        except ApiError as error:
            if error.param == "messages":
                error.param = "question"
            raise

    return answer_question


def texts_of(body: dict[str, Any]) -> list[str]:
    """The texts of the choices of an answer."""
    return [str(choice["message"]["content"] or "").strip() for choice in body["choices"]]


def comparison_of(question: str, texts: list[str], models: tuple[Contestant, Contestant]) -> Comparison:
    """Two answers to compare. Raises ApiError (409) if one is empty, or if they are the same."""
    first, second = texts
    if not (first and second) or first == second:
        problem = "both answers are the same" if first and second else "an answer is empty"
        raise ApiError(409, f"{problem}, so there is nothing to compare; ask again, or something else", "same_answer")
    return Comparison(question, first, second, models)
