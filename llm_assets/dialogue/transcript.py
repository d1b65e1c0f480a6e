"""Conversations to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from llm_assets.model.chat import Call, Message


def transcript(messages: Sequence[Message], layout: Literal["lines", "verbatim", "unnamed"] = "lines") -> str:
    """A conversation to read, calls in brackets.

    lines: ``role: text``, line breaks within a text as spaces. verbatim: the same with texts as they are. unnamed: the
    assistant's turn without roles, a call in the place of what is said with it, a tool's result behind an arrow.
    """
    return "\n".join(_line(message, layout) for message in messages)


def _line(message: Message, layout: str) -> str:
    call = f"[{message.call.tool}: {message.call.text}]" if message.call is not None else ""
    if layout == "unnamed":
        return call or (f"→ {message.content}" if message.role == "tool" else message.content)
    if layout == "verbatim":
        return f"{message.role}: {message.content}" + (f" {call}" if call else "")
    text = message.content.replace("\n", " ")
    return f"{message.role}: {f'{text} {call}'.strip() if call else text}"


def from_rows(rows: Iterable[Mapping[str, Any]]) -> list[Message]:
    """The messages of an answer, as an evaluation's process writes them (`evaluation.answers.answer_record`)."""
    return [
        Message(row["role"], row["content"], Call(row["tool"], row["call"]) if "tool" in row else None) for row in rows
    ]
