"""Conversations as plain text for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from llm_assets.model.chat import Call, Message


def transcript(messages: Sequence[Message], layout: Literal["lines", "verbatim", "unnamed"] = "lines") -> str:
    """Write a conversation as text, with tool calls in brackets.

    lines: ``role: text`` on one line; line breaks within a text become spaces. verbatim: the same with texts unchanged.
    unnamed: an assistant's turn without roles. A call replaces the text of its message; an arrow precedes a tool's
    result.
    """
    return "\n".join(_format_message(message, layout) for message in messages)


def _format_message(message: Message, layout: str) -> str:
    call = f"[{message.call.tool}: {message.call.text}]" if message.call is not None else ""
    if layout == "unnamed":
        if call:
            return call
        return f"→ {message.content}" if message.role == "tool" else message.content
    if layout == "verbatim":
        return f"{message.role}: {message.content}" + (f" {call}" if call else "")
    text = message.content.replace("\n", " ")
    return f"{message.role}: {f'{text} {call}'.strip() if call else text}"


def from_rows(rows: Iterable[Mapping[str, Any]]) -> list[Message]:
    """The messages of an answer, as an evaluation's process writes them (`evaluation.answers.answer_record`)."""
    return [
        Message(row["role"], row["content"], Call(row["tool"], row["call"]) if "tool" in row else None) for row in rows
    ]
