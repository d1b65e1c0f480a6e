"""Messages as JSON in the layout of OpenAI's chat API, as tables store them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llm_assets.model.chat import Call, Message

# The argument of each tool, in arguments that are written as a JSON object.
ARGUMENTS = {"python": "code", "search": "query"}


def to_openai(messages: Sequence[Message], json_arguments: bool = False) -> list[dict[str, Any]]:
    """Messages as objects {role, content, tool_calls?}.

    A call's arguments are its text or, with json_arguments, a JSON object with the text, as in OpenAI's API.
    """
    items: list[dict[str, Any]] = []
    for message in messages:
        item: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.call is not None:
            arguments = message.call.text
            if json_arguments:
                arguments = json.dumps({ARGUMENTS[message.call.tool]: arguments}, ensure_ascii=False)
            function = {"name": message.call.tool, "arguments": arguments}
            item["tool_calls"] = [{"type": "function", "function": function}]
        items.append(item)
    return items


def to_json(messages: Sequence[Message]) -> str:
    """Messages as a JSON list of {role, content, tool_calls?}."""
    return json.dumps(to_openai(messages), ensure_ascii=False)


def from_json(text: str) -> list[Message]:
    """The messages that `to_json` wrote."""
    messages = []
    for item in json.loads(text):
        calls = item.get("tool_calls")
        function = calls[0]["function"] if calls else None
        call = Call(function["name"], function["arguments"]) if function else None
        messages.append(Message(item["role"], item["content"], call))
    return messages
