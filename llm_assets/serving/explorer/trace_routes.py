"""Where the words of an answer occur in the training data."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter

from llm_assets.tracing import Trace, TraceIndex, trace_answer

from ..errors import invalid
from .protocol import TraceRequest
from .reading import Reader

HOUR = 3600.0


def add_trace(router: APIRouter, reader: Reader) -> None:
    @router.post("/trace")
    async def trace(body: TraceRequest) -> Trace:
        """The longest verbatim matches of an answer with pages and conversations, the most improbable first."""
        return await reader.run(partial(_trace, reader, body))


def _trace(reader: Reader, body: TraceRequest) -> Trace:
    if not body.answer.strip():
        raise invalid("the answer is empty, so nothing can be traced", "answer")
    artifact = reader.workspace.resolver().artifact("trace_index", None)
    index = reader.remembered(("trace", artifact.record.identity), partial(TraceIndex, artifact.path), HOUR)
    results = [*body.tool_results]
    results += [
        message.content for message in body.messages if message.role == "tool" and isinstance(message.content, str)
    ]
    return trace_answer(index, body.answer, results, body.minimum, body.places)
