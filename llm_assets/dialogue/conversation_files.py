"""Conversations in files: JSONL (also gzipped) and Parquet, in the layouts in common use. A malformed row is told and the rest goes on.

| layout | a row has | source |
|---|---|---|
| messages | ``messages``: list of {role, content, tool_calls?} | OpenAI's chat API |
| sharegpt | ``conversations``: list of {from, value}, perhaps ``system`` | ShareGPT, LLaMA-Factory |
| alpaca | ``instruction``, ``input``, ``output``, perhaps ``system`` and ``history`` (pairs) | Stanford Alpaca |
| prompt | ``prompt`` and ``completion``, or ``question`` and ``answer`` | P3, GSM8K |
"""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_assets.model.chat import Call, ConversationError, Message, check

# Names of speakers in ShareGPT files.
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
LINE_BYTES = 16 << 20  # of one row; a longer line is no conversation


class ConversationFileError(ValueError):
    """A file that cannot be read at all; the message names it."""


@dataclass(frozen=True)
class Row:
    """One row of a file: its number from 1 on, and its messages, or why it has none."""

    line: int
    messages: tuple[Message, ...] = ()
    problem: str = ""


def read_conversations(path: Path) -> Iterator[Row]:
    """Every row of a file, in order, as a conversation or as a reject with its reason.

    Raises ConversationFileError where the file is missing or of no kind that is read. What is left of a truncated gzip
    file is one reject at the line where it breaks.
    """
    if not path.is_file():
        raise ConversationFileError(f"conversations {path.absolute()}: no such file")
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        rows = _json_rows(path)
    elif path.suffix == ".parquet":
        rows = _parquet_rows(path)
    else:
        raise ConversationFileError(f"conversations {path}: neither .jsonl, .jsonl.gz nor .parquet")
    for line, row in rows:
        if isinstance(row, str):
            yield Row(line, problem=row)
            continue
        try:
            messages = tuple(to_messages(row))
            check(messages)
            yield Row(line, messages)
        except ConversationError as error:
            yield Row(line, problem=str(error))


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(LINE_BYTES)
            except (EOFError, OSError, zlib.error) as error:
                yield number, f"the file breaks off: {error}"
                return
            if not line:
                return
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                yield number, f"longer than {LINE_BYTES:,} bytes; nothing after it is read"
                return
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON: {error}"


def _parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(256):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        raise ConversationFileError(f"conversations {path}: {error}") from error


def to_messages(row: Any) -> list[Message]:
    """The messages of a row, by the fields that it has. Raises ConversationError."""
    if not isinstance(row, dict):
        raise ConversationError(f"a row is an object, not {type(row).__name__}")
    for fields, read in LAYOUTS:
        if all(row.get(field) is not None for field in fields):
            return read(row)
    raise ConversationError(
        f"fields {', '.join(sorted(map(str, row))[:8]) or 'none'}: of no layout that is read (messages; conversations; instruction and output; prompt and completion; question and answer)"
    )


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in value
    ):  # OpenAI's content parts
        return "".join(_text(part.get("text"), what) for part in value)
    if not isinstance(value, str):
        raise ConversationError(f"{what} is no text but {type(value).__name__}")
    return value


def _list(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConversationError(f"{what} is no list of objects")
    return value


def _openai(row: dict[str, Any]) -> list[Message]:
    messages = []
    for number, item in enumerate(_list(row["messages"], "messages"), 1):
        calls = item.get("tool_calls") or []
        if len(calls) > 1:
            raise ConversationError(f"message {number}: {len(calls)} calls at once; one is answered at a time")
        call = _call(calls[0], number) if calls else None
        messages.append(
            Message(
                _text(item.get("role"), f"message {number}: role"),
                _text(item.get("content"), f"message {number}: content"),
                call,
            )
        )
    return messages


def _call(given: Any, number: int) -> Call:
    """A call of OpenAI's form: its arguments are text, or an object (perhaps as JSON) of one value."""
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict):
        raise ConversationError(f"message {number}: a call without a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):  # a program may begin with a brace
            arguments = json.loads(arguments)
    if isinstance(arguments, dict):
        values = [value for value in arguments.values() if value is not None]
        if len(values) != 1:
            raise ConversationError(f"message {number}: {len(values)} arguments of a call; search and python take one")
        arguments = values[0]
    return Call(
        _text(function.get("name"), f"message {number}: the call's name"),
        _text(arguments, f"message {number}: the call's arguments"),
    )


def _sharegpt(row: dict[str, Any]) -> list[Message]:
    system = _text(row.get("system"), "system")
    messages = [Message("system", system)] if system.strip() else []
    for number, item in enumerate(_list(row["conversations"], "conversations"), 1):
        speaker = SPEAKERS.get(_text(item.get("from"), f"message {number}: from"))
        if speaker is None:
            raise ConversationError(f"message {number}: from {item.get('from')!r}; there are {', '.join(SPEAKERS)}")
        value = _text(item.get("value"), f"message {number}: value")
        if speaker == "call":
            try:
                messages.append(Message("assistant", "", _call(json.loads(value), number)))
            except ValueError as error:
                raise (
                    error
                    if isinstance(error, ConversationError)
                    else ConversationError(f"message {number}: function_call is not JSON")
                ) from None
        else:
            messages.append(Message(speaker, value))
    return messages


def _alpaca(row: dict[str, Any]) -> list[Message]:
    system, extra = _text(row.get("system"), "system"), _text(row.get("input"), "input")
    messages = [Message("system", system)] if system.strip() else []
    for number, pair in enumerate(row.get("history") or [], 1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ConversationError(f"history {number}: no pair of question and answer")
        messages += [
            Message("user", _text(pair[0], f"history {number}")),
            Message("assistant", _text(pair[1], f"history {number}")),
        ]
    instruction = _text(row["instruction"], "instruction")
    return [
        *messages,
        Message("user", f"{instruction}\n{extra}" if extra.strip() else instruction),
        Message("assistant", _text(row["output"], "output")),
    ]


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
