"""Where the words of an answer occur in the training data."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated

import polars as pl
from fastapi import APIRouter, Query

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.last_built import LastBuilt, current_or_last_built
from llm_assets.artifacts.store import NO_PARTITION
from llm_assets.artifacts.tables import scan_table
from llm_assets.tracing import TraceIndex, tool_runs, trace_answer

from ..errors import ApiError, invalid
from .protocol import ConversationBody, TraceBody, TraceRequest
from .reading import HOUR, Reader

INDEX, CONVERSATIONS = "trace_index", "conversations"


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
    stored = LastBuilt(reader.workspace)
    artifact, is_stale = stored.current_or_last(INDEX)
    index = reader.remembered(("trace", artifact.record.identity), partial(TraceIndex, artifact.path), HOUR)
    results = [*body.tool_results]
    results += [
        message.content for message in body.messages if message.role == "tool" and isinstance(message.content, str)
    ]
    trace = trace_answer(index, body.answer, results, body.minimum, body.places)
    return TraceBody(
        stale=stored.why_stale(INDEX) if is_stale else "",
        answer=trace.answer,
        tokens=trace.tokens,
        spans=trace.spans,
        tool_runs=tool_runs(trace.answer, results),
        seconds=trace.seconds,
    )


def _conversation(reader: Reader, number: int) -> ConversationBody:
    artifact = _traced_conversations(reader.workspace)
    rows = scan_table(artifact.table("conversations")).filter(pl.col("conversation") == number).collect().to_dicts()
    if not rows:
        raise ApiError(404, f"there is no conversation {number:,}", "not_found", "number")
    (row,) = rows
    return ConversationBody(**{**row, "sources": json.loads(row["sources"]), "messages": json.loads(row["messages"])})


def _traced_conversations(workspace: Workspace) -> Artifact:
    """The conversations that the index of traces was built from, whose numbers its matches name."""
    index, _ = current_or_last_built(workspace, INDEX)
    version = dict(index.record.inputs).get(CONVERSATIONS)
    artifacts = workspace.store.artifacts(CONVERSATIONS, NO_PARTITION)
    artifact = next((artifact for artifact in artifacts if artifact.data_version == version), None)
    if artifact is None:
        raise ApiError(404, "the conversations that traces lead to are no longer in the store", "not_found", "number")
    return artifact
