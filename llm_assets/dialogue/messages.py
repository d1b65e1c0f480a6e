"""Messages as JSON in OpenAI's layout, as tables hold them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llm_assets.model.chat import Call, Message


def to_json(messages: Sequence[Message]) -> str:
    """OpenAI's layout."""
    rows: list[dict[str, Any]] = []
    for message in messages:
        row: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.call is not None:
            row["tool_calls"] = [
                {"type": "function", "function": {"name": message.call.tool, "arguments": message.call.text}}
            ]
        rows.append(row)
    return json.dumps(rows, ensure_ascii=False)


def from_json(text: str) -> list[Message]:
    """The messages of a row of the table."""
    found = []
    for row in json.loads(text):
        calls = row.get("tool_calls")
        found.append(
            Message(
                row["role"],
                row["content"],
                Call(calls[0]["function"]["name"], calls[0]["function"]["arguments"]) if calls else None,
            )
        )
    return found
