"""Conversations with a model: a chat model by the chat protocol with its tools, a base model by a prompt.

Imports only torch, numpy and tiktoken, and these once a reply is sampled.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .chat import CALL_STARTS, Call, Message, decode_text, prompt

if TYPE_CHECKING:
    from .encoding import Encoding
    from .sampling import Choice, Completion, Engine, Sampling, ToolCall, Tools

# The file next to a chat model's weights: its name, its maker, and the tools that it has learnt to call.
ASSISTANT = "assistant.json"
# Questions and answers with which a base model is prompted.
EXAMPLES = (
    ("How many days has a week?", "Seven."),
    ("What is the colour of grass?", "Green."),
)


class ConversationTooLong(ValueError):
    """A message that does not fit into the model's context."""


def system_message(tools: Sequence[str], instructions: str = "") -> Message | None:
    """The system message that lists the assistant's tools, in alphabetical order, and its instructions.

    None without either.
    """
    lines = [f"Tools: {', '.join(sorted(tools))}."] if tools else []
    if instructions:
        lines.append(instructions)
    return Message("system", "\n".join(lines)) if lines else None


def is_chat_model(folder: Path) -> bool:
    """Whether a checkpoint has been trained on conversations."""
    return (folder / ASSISTANT).is_file()


def tools_of(folder: Path) -> tuple[str, ...]:
    """The tools that a chat model has learnt to call."""
    return tuple(json.loads((folder / ASSISTANT).read_text())["tools"]) if is_chat_model(folder) else ()


def ended_turn(encoding: Encoding, completion: Completion) -> bool:
    """Whether the model ended its turn, as the protocol has it.

    A completion may also stop where a document would begin. That ends a text of pretraining, not an answer.
    """
    end = encoding.special["<|assistant_end|>"]
    return completion.finish == "stop" and completion.stop in (end, None)


def to_messages(engine: Engine, completion: Completion) -> list[Message]:
    """A completion as messages: the assistant's texts and calls, and the tools' results.

    A call that the completion ended with, as without room for its result, was not made, and is no text for the user.
    """
    from .decoding import CallReader

    special, messages = engine.encoding.special, []
    starts = {special[name] for name in CALL_STARTS}
    text: list[int] = []
    calls = iter(completion.calls)
    # Tokens of a call that is not closed yet. Closed calls are in completion.calls.
    open_call: list[int] | None = None
    for place, (token, from_tool) in enumerate(zip(completion.tokens, completion.from_tool, strict=True)):
        if from_tool:
            if not completion.from_tool[place - 1]:
                call = next(calls)
                messages += [
                    Message("assistant", decode_text(engine.encoding, text), Call(call.tool, call.text)),
                    Message("tool", call.result),
                ]
                text, open_call = [], None
        elif token in starts:
            open_call = []
        elif token in engine.encoding.text_ids:
            (text if open_call is None else open_call).append(token)
    if open_call and completion.finish != "stop" and CallReader(engine.encoding).closed_call(completion):
        open_call = None
    # The text of a call that was never closed is part of the answer.
    answer = engine.encoding.decode([*text, *(open_call or [])]).strip()
    return [*messages, Message("assistant", answer)]


@dataclass(frozen=True)
class Piece:
    """A piece of a reply, in order: some of the assistant's text, or a call that was made."""

    text: str = ""
    call: ToolCall | None = None


@dataclass(frozen=True)
class ConversationSettings:
    """How a conversation is held.

    instructions: the system message. chat: use the chat protocol; otherwise questions and answers in
    plain text, for a base model. room: tokens of the context that are kept free for the reply. search_first: begin
    every reply with a search if the model has that tool, whatever the model knows.
    """

    instructions: str = ""
    chat: bool = True
    room: int = 64
    search_first: bool = False


class Conversation:
    """A conversation with a model. Once the context is full, the oldest exchanges are left out of the prompt.

    history: the exchanges so far. left_out: how many of them the last prompt left out.
    """

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        tools: Tools | None = None,
        settings: ConversationSettings | None = None,
    ):
        settings = settings or ConversationSettings()
        self.engine, self.sampling, self.settings = engine, sampling, settings
        self.instructions = settings.instructions
        self.tools = tools if settings.chat else None
        self.room = min(settings.room, engine.shape.context // 2)
        self.history: list[list[Message]] = []
        self.left_out = 0
        self._questions = 0

    def reset(self) -> None:
        """Forget the history."""
        self.history.clear()
        self.left_out = 0

    def _prompt(self, question: str) -> list[int]:
        """Tokens of the question and as much of the history as fits. Raises ConversationTooLong."""
        encoding, room = self.engine.encoding, self.engine.shape.context - self.room
        system = system_message(tuple(self.tools.tools) if self.tools else (), self.instructions)
        for first in range(len(self.history) + 1):
            exchanges = [*self.history[first:], [Message("user", question)]]
            messages = [message for exchange in exchanges for message in exchange]
            if self.settings.chat:
                ids = prompt(encoding, [*([system] if system else []), *messages])
            else:
                ids = encoding.document(as_text(messages, self.instructions))
            if len(ids) <= room:
                self.left_out = first
                return ids
        raise ConversationTooLong(
            f"the message and what must precede it have {len(ids):,} tokens, but the context holds only "
            f"{self.engine.shape.context:,}, of which {self.room:,} are kept for the reply; shorten the message"
        )

    def _sampling(self) -> Sampling:
        """How the next reply is sampled: with a random stream of its own."""
        encoding, settings = self.engine.encoding, self.settings
        stop = (encoding.bos, encoding.special["<|assistant_end|>"]) if settings.chat else (encoding.bos,)
        searches = settings.search_first and self.tools is not None and "search" in self.tools.tools
        opening = encoding.special["<|search_start|>"] if searches else None
        seed = self.sampling.seed + self._questions
        self._questions += 1
        return replace(self.sampling, stop=stop, seed=seed, opening=opening)

    def ask(self, question: str) -> Iterator[Piece]:
        """Yield the reply in pieces; a complete exchange is added to the history. Raises ConversationTooLong."""
        ids = self._prompt(question)
        stream = self.engine.stream([ids], self._sampling(), tools=self.tools)
        yield from self._chat_reply(question, stream) if self.settings.chat else self._line_reply(question, stream)

    def _chat_reply(self, question: str, stream: Iterator[list[Choice] | list[Completion]]) -> Iterator[Piece]:
        """The reply of a chat model: texts between calls, and each call once its result has come."""
        from .sampling import Choice

        encoding = self.engine.encoding
        starts = {encoding.special[name] for name in CALL_STARTS}
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        in_call, text_begins = False, True  # a text begins with a space, which the protocol puts in front of it
        for step in stream:
            for choice in step:
                if not isinstance(choice, Choice):
                    messages = to_messages(self.engine, choice)
                    if messages[-1].content:
                        self.history.append([Message("user", question), *messages])
                elif choice.call is not None:
                    if in_call:
                        in_call, text_begins = False, True
                        yield Piece(call=choice.call)
                elif choice.token in starts:
                    in_call = True
                elif not in_call and choice.token in encoding.text_ids:
                    text = decoder.decode(encoding.decode_bytes([choice.token]))
                    if text_begins:
                        text_begins, text = not text, text.removeprefix(" ")
                    if text:
                        yield Piece(text)

    def _line_reply(self, question: str, stream: Iterator[list[Choice] | list[Completion]]) -> Iterator[Piece]:
        """The reply of a base model: its first line."""
        from .sampling import Choice

        encoding = self.engine.encoding
        starts = {encoding.special[name] for name in CALL_STARTS}
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        reply, ended = "", False
        for step in stream:
            for choice in step:
                if not isinstance(choice, Choice):
                    continue
                ended = ended or choice.token in starts
                if ended or choice.token not in encoding.text_ids:
                    continue
                text = decoder.decode(encoding.decode_bytes([choice.token]))
                text, newline, _ = (text if reply else text.lstrip(" ")).partition("\n")
                ended = bool(newline)
                reply += text
                if text:
                    yield Piece(text)
            if ended:
                break
        if reply.strip():
            self.history.append([Message("user", question), Message("assistant", reply.strip())])


def as_text(messages: Sequence[Message], instructions: str = "", examples: Sequence[tuple[str, str]] = EXAMPLES) -> str:
    """A conversation as plain text of questions and answers, up to the point where the answer follows."""
    lines = [instructions] if instructions else []
    for question, answer in examples:
        lines += [f"Question: {question}", f"Answer: {answer}"]
    for message in messages:
        lines.append(f"{'Question' if message.role == 'user' else 'Answer'}: {message.content}".replace("\n", " "))
    return "\n".join([*lines, "Answer:"])
