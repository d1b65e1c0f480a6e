"""Reads conversations from JSONL (also compressed) and Parquet files, in the layouts in common use.

A malformed row becomes a reject with its reason, and reading continues.

| layout | fields of a row | source |
|---|---|---|
| messages | ``messages``: list of {role, content, tool_calls?} | OpenAI's chat API |
| sharegpt | ``conversations``: list of {from, value}; optional ``system`` | ShareGPT, LLaMA-Factory |
| alpaca | ``instruction``, ``input``, ``output``; optional ``system`` and ``history`` (pairs) | Stanford Alpaca |
| prompt | ``prompt`` and ``completion``, or ``question`` and ``answer`` | P3, GSM8K |
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_assets.json_values import parse_json, well_formed
from llm_assets.model.chat import Call, ConversationError, Message, check
from llm_assets.row_files import RowFileError, read_rows, shown_fields

# Roles by the names that ShareGPT files give to speakers.
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
    "function_call": "call",
}


class ConversationFileError(ValueError):
    """The file cannot be read at all; the message names it."""


@dataclass(frozen=True)
class Row:
    """One row of a file: its number, from 1, and its messages, or the problem why it has none."""

    line: int
    messages: tuple[Message, ...] = ()
    problem: str = ""


def read_conversations(path: Path) -> Iterator[Row]:
    """Read every row of a file, in order, as a conversation or as a reject with its reason.

    Raises ConversationFileError if the file is missing or its format is not supported. Where a compressed file is
    truncated, the last row is a reject at the line at which it breaks.
    """
    try:
        for row in read_rows(path):
            yield Row(row.number, problem=row.problem) if row.problem else _conversation(row.number, row.value)
    except RowFileError as error:
        raise ConversationFileError(f"conversations {error}") from error


def _conversation(line: int, value: Any) -> Row:
    try:
        messages = tuple(to_messages(value))
        check(messages)
    except ConversationError as error:
        return Row(line, problem=str(error))
    return Row(line, messages)


def to_messages(row: Any) -> list[Message]:
    """The messages of a row; its fields decide the layout. Raises ConversationError."""
    if not isinstance(row, dict):
        raise ConversationError(f"a row must be an object, not {type(row).__name__}")
    for fields, read in LAYOUTS:
        if all(row.get(field) is not None for field in fields):
            return read(row)
    raise ConversationError(
        f"fields {shown_fields(row)}: not a known layout (messages; conversations; instruction and output; prompt and "
        "completion; question and answer)"
    )


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        return "".join(_text(part.get("text"), name) for part in value)  # OpenAI's content parts
    if not isinstance(value, str):
        raise ConversationError(f"{name} must be text, not {type(value).__name__}")
    return value


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConversationError(f"{name} must be a list of objects")
    return value


def _openai(row: dict[str, Any]) -> list[Message]:
    messages = []
    for number, item in enumerate(_list(row["messages"], "messages"), 1):
        calls = item.get("tool_calls") or []
        if len(calls) > 1:
            raise ConversationError(f"message {number}: {len(calls)} tool calls; a message may have one")
        call = _call(calls[0], number) if calls else None
        role = _text(item.get("role"), f"message {number}: role")
        role = "system" if role == "developer" else role  # OpenAI's newer name
        content = _text(item.get("content"), f"message {number}: content")
        messages.append(Message(role, content, call))
    return messages


def _call(value: Any, number: int) -> Call:
    """A call in OpenAI's form: its arguments are text, or an object (possibly as JSON) with one value."""
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict):
        raise ConversationError(f"message {number}: a tool call without a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):  # a program may begin with a brace
            pairs = json.loads(arguments, object_pairs_hook=tuple)
            # A JSON object with a name twice has no one meaning (RFC 8259, section 4); it is taken for a program.
            if len({well_formed(name) for name, _ in pairs}) == len(pairs):
                arguments = parse_json(arguments)
    if isinstance(arguments, dict):
        values = [argument for argument in arguments.values() if argument is not None]
        if len(values) != 1:
            raise ConversationError(
                f"message {number}: a tool call with {len(values)} arguments; search and python take one"
            )
        arguments = values[0]
    name = _text(function.get("name"), f"message {number}: the call's name")
    return Call(name, _text(arguments, f"message {number}: the call's arguments"))


def _sharegpt(row: dict[str, Any]) -> list[Message]:
    messages = _system_message(row)
    for number, item in enumerate(_list(row["conversations"], "conversations"), 1):
        role = SPEAKERS.get(_text(item.get("from"), f"message {number}: from"))
        if role is None:
            raise ConversationError(
                f"message {number}: unknown speaker, from {item.get('from')!r}; use one of {', '.join(SPEAKERS)}"
            )
        value = _text(item.get("value"), f"message {number}: value")
        if role == "call":
            try:
                call = parse_json(value)
            except (ValueError, RecursionError):
                raise ConversationError(f"message {number}: function_call is not JSON") from None
            messages.append(Message("assistant", "", _call(call, number)))
        else:
            messages.append(Message(role, value))
    return messages


def _alpaca(row: dict[str, Any]) -> list[Message]:
    messages = _system_message(row)
    extra = _text(row.get("input"), "input")
    for number, pair in enumerate(row.get("history") or [], 1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ConversationError(f"history {number}: must be a pair of question and answer")
        question, answer = (_text(text, f"history {number}") for text in pair)
        messages += [Message("user", question), Message("assistant", answer)]
    instruction = _text(row["instruction"], "instruction")
    return [
        *messages,
        Message("user", f"{instruction}\n{extra}" if extra.strip() else instruction),
        Message("assistant", _text(row["output"], "output")),
    ]


def _system_message(row: dict[str, Any]) -> list[Message]:
    system = _text(row.get("system"), "system")
    return [Message("system", system)] if system.strip() else []


def _pair(question: str, answer: str) -> Callable[[dict[str, Any]], list[Message]]:
    return lambda row: [
        Message("user", _text(row[question], question)),
        Message("assistant", _text(row[answer], answer)),
    ]


LAYOUTS: tuple[tuple[tuple[str, ...], Callable[[dict[str, Any]], list[Message]]], ...] = (
    (("messages",), _openai),
    (("conversations",), _sharegpt),
    (("instruction", "output"), _alpaca),
    (("prompt", "completion"), _pair("prompt", "completion")),
    (("question", "answer"), _pair("question", "answer")),
)
