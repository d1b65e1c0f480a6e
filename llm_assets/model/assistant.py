"""Talking with a model: a chat model by the chat protocol with its tools, a base model by a prompt that makes it answer.

Imports torch, numpy and tiktoken only, and those when a reply is made.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .chat import TOOLS, Call, Message, decode_text, prompt

if TYPE_CHECKING:
    from .sampling import Completion, Engine, Sampling, ToolCall, Tools

ASSISTANT = "assistant.json"  # beside a chat model's weights: its name, its maker, the tools that it has learnt to call
EXAMPLES = (
    ("How many days has a week?", "Seven."),
    ("What is the colour of grass?", "Green."),
)  # shown to a base model


def system_message(tools: Sequence[str], instructions: str = "") -> Message | None:
    """What is said first: the tools that the assistant has, and what else it is told; None where there is neither."""
    lines = [f"Tools: {', '.join(tools)}."] if tools else []
    return (
        Message("system", "\n".join([*lines, *([instructions] if instructions else [])]))
        if lines or instructions
        else None
    )


def is_chat_model(folder: Path) -> bool:
    """Whether a checkpoint has been trained on conversations."""
    return (folder / ASSISTANT).is_file()


def tools_of(folder: Path) -> tuple[str, ...]:
    """Tools that a chat model has learnt to call."""
    return tuple(json.loads((folder / ASSISTANT).read_text())["tools"]) if is_chat_model(folder) else ()


def to_messages(engine: Engine, completion: Completion) -> list[Message]:
    """What the assistant said and called, with the results, as messages."""
    special, messages = engine.encoding.special, []
    starts = {special[f"<|{name}_start|>"] for name in TOOLS}
    text: list[int] = []
    calls = iter(completion.calls)
    inside: list[int] | None = None  # tokens of a call that is not closed yet; the record of calls holds those that are
    for place, (token, forced) in enumerate(zip(completion.tokens, completion.forced, strict=True)):
        if forced:
            if not completion.forced[place - 1]:
                call = next(calls)
                messages += [
                    Message("assistant", decode_text(engine.encoding, text), Call(call.tool, call.text)),
                    Message("tool", call.result),
                ]
                text, inside = [], None
        elif token in starts:
            inside = []
        elif token < len(engine.encoding.ranks):
            (text if inside is None else inside).append(token)
    # A call that was never closed was said all the same.
    return [*messages, Message("assistant", engine.encoding.decode([*text, *(inside or [])]).strip())]


@dataclass(frozen=True)
class Piece:
    """A stretch of a reply as it comes: text of the assistant's, or a call that was made."""

    text: str = ""
    call: ToolCall | None = None


class Conversation:
    """A conversation with a model, its history kept; the oldest exchanges are left out when the context is full.

    `room` tokens of the context are kept free for the reply. `chat`: by the chat protocol; otherwise as questions and answers in
    plain text, for a base model. `search_first`: where it can search, every reply begins with a search, whatever it knows.
    """

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        tools: Tools | None = None,
        instructions: str = "",
        chat: bool = True,
        room: int = 64,
        search_first: bool = False,
    ):
        self.engine, self.tools, self.chat = engine, tools, chat
        self.room = min(room, engine.shape.context // 2)
        self.sampling, self.instructions, self.search_first = sampling, instructions, search_first
        self.history: list[list[Message]] = []  # exchanges
        self.left_out = 0
        self._asked = 0

    def reset(self) -> None:
        self.history.clear()
        self.left_out = 0

    def _prompt(self, question: str) -> list[int]:
        """Tokens of as much of the history as fits, and the question; how many exchanges were left out is noted."""
        encoding, most = self.engine.encoding, self.engine.shape.context - self.room
        system = (
            system_message(sorted(self.tools.tools) if self.tools else (), self.instructions) if self.chat else None
        )
        for first in range(len(self.history) + 1):
            exchanges = [*self.history[first:], [Message("user", question)]]
            messages = [message for exchange in exchanges for message in exchange]
            ids = (
                prompt(encoding, [*([system] if system else []), *messages])
                if self.chat
                else encoding.document(as_text(messages, self.instructions))
            )
            if len(ids) <= most:
                self.left_out = first
                return ids
        raise ConversationTooLong(
            f"the message has {len(ids):,} tokens with what comes before it, the model's context is {self.engine.shape.context:,}"
        )

    def ask(self, question: str) -> Iterator[Piece]:
        """The reply, piece by piece. The exchange is remembered once it is whole. Raises ConversationTooLong."""
        from .sampling import Choice

        encoding = self.engine.encoding
        ids = self._prompt(question)
        stop = (encoding.bos, encoding.special["<|assistant_end|>"]) if self.chat else (encoding.bos,)
        # Another stream of random numbers for every question.
        searches = self.search_first and self.chat and self.tools is not None and "search" in self.tools.tools
        opening = encoding.special["<|search_start|>"] if searches else None
        sampling = replace(self.sampling, stop=stop, seed=self.sampling.seed + self._asked, opening=opening)
        self._asked += 1
        starts = {encoding.special[f"<|{name}_start|>"] for name in TOOLS}
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        said, quiet, ended = "", False, False
        fresh = True  # a text begins, with the space that stands in front of it
        completion = None
        for step in self.engine.stream([ids], sampling, tools=self.tools if self.chat else None):
            for choice in step:
                if not isinstance(choice, Choice):
                    completion = choice
                elif choice.call is not None:
                    if quiet:
                        quiet, fresh = False, True
                        yield Piece(call=choice.call)
                elif choice.token in starts:
                    quiet = True
                elif not quiet and choice.token < len(encoding.ranks):
                    text = decoder.decode(encoding.bpe.decode_single_token_bytes(choice.token))
                    if self.chat and fresh:
                        fresh, text = not text, text.removeprefix(" ")
                    if not self.chat:
                        # Its answer is one line.
                        text, newline, _ = (text if said else text.lstrip(" ")).partition("\n")
                        ended = bool(newline)
                    said += text
                    if text:
                        yield Piece(text)
            if ended:
                break
        if self.chat and completion is not None:
            messages = to_messages(self.engine, completion)
            if messages[-1].content:
                self.history.append([Message("user", question), *messages])
        elif said.strip():
            self.history.append([Message("user", question), Message("assistant", said.strip())])


class ConversationTooLong(ValueError):
    """A message that does not fit into the model's context."""


def as_text(messages: Sequence[Message], instructions: str = "", examples: Sequence[tuple[str, str]] = EXAMPLES) -> str:
    """A conversation as a page of questions and answers, up to where the answer comes."""
    lines = [instructions] if instructions else []
    for asked, answer in examples:
        lines += [f"Question: {asked}", f"Answer: {answer}"]
    for message in messages:
        lines.append(f"{'Question' if message.role == 'user' else 'Answer'}: {message.content}".replace("\n", " "))
    return "\n".join([*lines, "Answer:"])
