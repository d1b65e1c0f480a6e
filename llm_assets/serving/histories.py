"""Conversations as clients send them, in the order of the chat protocol.

Clients send what the protocol does not have: system messages in the middle, neighbours of one role, several calls at
once, and calls of functions that no model has learnt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llm_assets.dialogue.conversation_files import to_messages
from llm_assets.model.chat import TOOLS, Call, ConversationError, Message


def history(items: Sequence[dict[str, Any]]) -> list[Message]:
    """The messages of a request, in the order of the protocol. Raises ConversationError."""
    return protocol_turns(one_call_each(items))


def one_call_each(items: Sequence[dict[str, Any]]) -> list[Message]:
    """Messages with at most one call, which its result follows. Raises ConversationError for a call without a result.

    Several calls of a message are written one after the other, in the order of their results. A call that the protocol
    cannot write, and its result, are a line of text in the turn before it.
    """
    texts = to_messages({"messages": [{**item, "tool_calls": None} for item in items]})
    messages: list[Message] = []
    calls: list[dict[str, Any]] = []  # that wait for their results
    for number, (item, message) in enumerate(zip(items, texts, strict=True), 1):
        if message.role == "tool" and calls:
            answered = _answered(calls, item.get("tool_call_id"), number)
            calls.remove(answered)
            call = protocol_call(answered)
            if call is not None:
                messages += [Message("assistant", "", call), message]
            else:
                _add_line(messages, f"{call_text(answered, number)}: {message.content}")
        elif calls:
            raise ConversationError(f"message {number}: {message.role} where the result of a call was expected")
        else:
            calls = list(item.get("tool_calls") or [])
            if calls and message.role != "assistant":
                raise ConversationError(f"message {number}: a call by {message.role}; only the assistant calls tools")
            if message.content.strip() or not calls:
                messages.append(message)
    last = [protocol_call(call) for call in calls]
    if len(last) > 1 or None in last:
        raise ConversationError(f"message {len(items)}: {len(last)} tool calls without a result")
    return [*messages, *(Message("assistant", "", call) for call in last)]


def _answered(calls: Sequence[dict[str, Any]], identifier: str | None, number: int) -> dict[str, Any]:
    """The call that a result belongs to: by its identifier, or else the first one. Raises ConversationError."""
    if identifier is None or not any(call.get("id") for call in calls):
        return calls[0]
    for call in calls:
        if call.get("id") == identifier:
            return call
    raise ConversationError(f"message {number}: tool_call_id {identifier[:100]!r} is that of no call before it")


def _add_line(messages: list[Message], line: str) -> None:
    """Add a line to the last turn, unless it is the assistant's: it must not be what the model seems to have said."""
    if messages and messages[-1].role == "tool":
        messages[-1] = replace(messages[-1], content=f"{messages[-1].content}\n{line}")
    else:
        messages.append(Message("user", line))  # joined to the user's message before it


def protocol_call(call: dict[str, Any]) -> Call | None:
    """A call of OpenAI's API as the protocol writes it; None for other functions, and for more than one text."""
    try:
        [message] = to_messages({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    except ConversationError:
        return None
    return message.call if message.call is not None and message.call.tool in TOOLS else None


def call_text(call: dict[str, Any], number: int) -> str:
    """A call as text, such as ``get_weather({"city": "Paris"})``. Raises ConversationError. number: of the message."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ConversationError(f"message {number}: a result of a tool call without a function's name")
    arguments = function.get("arguments") or ""
    return f"{function['name']}({arguments if isinstance(arguments, str) else json.dumps(arguments)})"


def protocol_turns(messages: Sequence[Message]) -> list[Message]:
    """The system messages as one in front, then turns that alternate.

    Empty messages of the assistant are left out. Neighbours of one role, the assistant's up to its call, are joined by
    a line break.
    """
    instructions = [message.content for message in messages if message.role == "system" and message.content.strip()]
    turns = [Message("system", "\n".join(instructions))] if instructions else []
    for message in messages:
        is_text = message.call is None
        if message.role == "system" and is_text:
            continue
        if message.role == "assistant" and is_text and not message.content.strip():
            continue
        last = turns[-1] if turns else None
        if last and last.call is None and last.role == message.role and message.role in ("user", "assistant"):
            message = replace(message, content="\n".join(filter(None, [turns.pop().content, message.content])))
        turns.append(message)
    return turns
