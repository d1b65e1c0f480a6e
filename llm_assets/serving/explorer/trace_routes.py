"""Where the words of an answer occur in the training data."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated

import polars as pl
from fastapi import APIRouter, Query

from llm_assets.artifacts.tables import scan_table
from llm_assets.tracing import TraceIndex, tool_runs, trace_answer

from ..errors import ApiError, invalid
from .protocol import ConversationBody, TraceBody, TraceRequest
from .reading import HOUR, Reader


def add_trace(router: APIRouter, reader: Reader) -> None:
    @router.post("/trace")
    async def trace(body: TraceRequest) -> TraceBody:
        """The longest verbatim matches of an answer with pages and conversations, the most improbable first."""
        return await reader.run(partial(_trace, reader, body))

    @router.get("/trace/conversation")
    async def conversation(number: Annotated[int, Query(ge=0, le=1 << 62)]) -> ConversationBody:
        """A conversation that the assistant was tuned on, by its number in a trace."""
        return await reader.run(partial(_conversation, reader, number))


def _trace(reader: Reader, body: TraceRequest) -> TraceBody:
    if not body.answer.strip():
        raise invalid("the answer is empty, so nothing can be traced", "answer")
    artifact = reader.workspace.resolver().artifact("trace_index", None)
    index = reader.remembered(("trace", artifact.record.identity), partial(TraceIndex, artifact.path), HOUR)
    results = [*body.tool_results]
    results += [
        message.content for message in body.messages if message.role == "tool" and isinstance(message.content, str)
    ]
    trace = trace_answer(index, body.answer, results, body.minimum, body.places)
    return TraceBody(
        answer=trace.answer,
        tokens=trace.tokens,
        spans=trace.spans,
        tool_runs=tool_runs(trace.answer, results),
        seconds=trace.seconds,
    )


def _conversation(reader: Reader, number: int) -> ConversationBody:
    artifact = reader.workspace.resolver().artifact("conversations", None)
    rows = scan_table(artifact.table("conversations")).filter(pl.col("conversation") == number).collect().to_dicts()
    if not rows:
        raise ApiError(404, f"there is no conversation {number:,}", "not_found", "number")
    (row,) = rows
    return ConversationBody(**{**row, "sources": json.loads(row["sources"]), "messages": json.loads(row["messages"])})
