"""The chat protocol: conversations as tokens, and which of the tokens are trained.

    <|bos|><|system_start|>…<|system_end|><|user_start|>…<|user_end|><|assistant_start|>…<|assistant_end|>

A tool call is part of the assistant's turn, which continues after the tool has answered:

    <|assistant_start|>I will look.<|search_start|>capital of France<|search_end|>
    <|tool_start|><|result_start|>…<|result_end|><|tool_end|>It is Paris.<|assistant_end|>

(without the line breaks). Loss is computed only on the assistant's own tokens: its text, its calls with their special
tokens, and the end of its turn. Texts are encoded without special tokens, so that nothing a user writes can open or
close a turn. Each text is prefixed with a space, so that its first word has the tokens that it has within a sentence,
and can be copied from one (SentencePiece's dummy prefix; Kudo, Richardson, arXiv:1808.06226).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .encoding import Encoding

ROLES = ("system", "user", "assistant", "tool")
TOOLS = ("search", "python")
# What begins and ends a call. Exports show these tokens in the text, because a program must find the call in it.
CALL_STARTS = tuple(f"<|{tool}_start|>" for tool in TOOLS)
CALL_ENDS = tuple(f"<|{tool}_end|>" for tool in TOOLS)


class ConversationError(ValueError):
    """A conversation that breaks the protocol; the error says which message of it does, and why."""


@dataclass(frozen=True)
class Call:
    """A tool call: the tool's name, and a query or a program."""

    tool: str
    text: str


@dataclass(frozen=True)
class Message:
    """One message.

    An assistant's call, at most one per message, follows its content. A tool's content is the result.
    """

    role: str
    content: str
    call: Call | None = None


def check(messages: Sequence[Message], complete: bool = True, strict: bool = True) -> None:
    """Raise ConversationError unless the roles alternate as the protocol requires.

    A system message may come first. User and assistant then take turns; an assistant's call is followed by the tool's
    result and by the assistant again. complete: the last message must be the assistant's, without a call. strict: as
    training data must be; otherwise the assistant may speak first, and a call may be empty.
    """
    first = ("user",) if strict else ("user", "assistant")
    expected: tuple[str, ...] = ("system", *first)
    for number, message in enumerate(messages, 1):
        if message.role not in ROLES:
            raise ConversationError(f"message {number}: unknown role {message.role!r}; available: {', '.join(ROLES)}")
        if message.role not in expected:
            raise ConversationError(f"message {number}: {message.role} where {' or '.join(expected)} was expected")
        if message.call is not None:
            if message.role != "assistant":
                raise ConversationError(f"message {number}: a call by {message.role}; only the assistant calls tools")
            if message.call.tool not in TOOLS:
                raise ConversationError(
                    f"message {number}: unknown tool {message.call.tool!r}; available: {', '.join(TOOLS)}"
                )
            if strict and not message.call.text.strip():
                raise ConversationError(f"message {number}: an empty call of {message.call.tool}")
        elif not message.content.strip() and message.role != "tool":
            raise ConversationError(f"message {number}: empty {message.role} message")
        expected = {
            "system": first,
            "user": ("assistant",),
            "tool": ("assistant",),
            "assistant": ("tool",) if message.call else ("user",),
        }[message.role]
    if not messages:
        raise ConversationError("no messages")
    if complete and (messages[-1].role != "assistant" or messages[-1].call is not None):
        calling = " calling a tool" if messages[-1].call else ""
        raise ConversationError(
            f"message {len(messages)}: the conversation ends with {messages[-1].role}{calling}, not with the "
            "assistant's answer"
        )


def encode_text(encoding: Encoding, text: str) -> list[int]:
    """Tokens of a text within a turn."""
    return encoding.encode(f" {text}") if text else []


def decode_text(encoding: Encoding, tokens: Sequence[int]) -> str:
    """The inverse of `encode_text`."""
    return encoding.decode(tokens).removeprefix(" ")


def render(
    encoding: Encoding, messages: Sequence[Message], complete: bool = True, strict: bool = True
) -> tuple[list[int], list[bool]]:
    """Tokens of a conversation, and whether each is trained, as a target. complete, strict: see `check`.

    Raises ConversationError.
    """
    check(messages, complete, strict)
    special = encoding.special
    ids, trained = [encoding.bos], [False]

    def add(tokens: Sequence[int], train: bool = False) -> None:
        ids.extend(tokens)
        trained.extend([train] * len(tokens))

    def mark(name: str, train: bool = False) -> None:
        add([special[f"<|{name}|>"]], train)

    for place, message in enumerate(messages):
        text = encode_text(encoding, message.content)
        if message.role == "assistant":
            if place == 0 or messages[place - 1].role != "tool":
                mark("assistant_start")
            add(text, True)
            if message.call is not None:
                mark(f"{message.call.tool}_start", True)
                add(encode_text(encoding, message.call.text), True)
                mark(f"{message.call.tool}_end", True)
            else:
                mark("assistant_end", True)
        elif message.role == "tool":
            mark("tool_start")
            mark("result_start")
            add(text)
            mark("result_end")
            mark("tool_end")
        else:
            mark(f"{message.role}_start")
            add(text)
            mark(f"{message.role}_end")
    return ids, trained


def prompt(encoding: Encoding, messages: Sequence[Message], strict: bool = True) -> list[int]:
    """Tokens up to the assistant's next text, after a user's message or a tool's result. strict: see `check`.

    Raises ConversationError.
    """
    ids, _ = render(encoding, messages, complete=False, strict=strict)
    if messages[-1].role not in ("user", "tool"):
        speaker = "assistant's own" if messages[-1].role == "assistant" else f"{messages[-1].role}'s"
        raise ConversationError(f"message {len(messages)}: it is the {speaker}, so there is nothing left to answer")
    return ids if messages[-1].role == "tool" else [*ids, encoding.special["<|assistant_start|>"]]


# Transformers and llama.cpp recognise special tokens in the text of a template. The template therefore writes "<|" of a
# message as "<", this character and "|", which is no special token. The exported tokenizer takes it out again.
JOINER = "\u200d"

_CODE_POINT = re.compile(r"\\u([0-9a-f]{4})")


def _read_template() -> str:
    """The template, with characters in place of escapes such as ``\\u200d``, which llama.cpp does not read."""
    source = Path(__file__).with_name("chat_template.j2").read_text("utf-8").rstrip()
    return _CODE_POINT.sub(lambda match: chr(int(match[1], 16)), source)


# The template with transformers' `generation` tags around the tokens that are trained, which other engines cannot read.
TRAINING_TEMPLATE = _read_template()
# The protocol as a plain Jinja template over OpenAI's `messages`. A call is ``{"function": {"name": "search",
# "arguments": …}}``; its arguments are the query, an object with one text, or such an object as JSON.
CHAT_TEMPLATE = re.sub(r" *\{%- (end)?generation -%\}\n", "", TRAINING_TEMPLATE)
