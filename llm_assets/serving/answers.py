"""Answers in OpenAI's formats: whole ones, and the chunks of streams."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from llm_assets.model.encoding import Encoding
from llm_assets.model.tool_calls import ToolCall

from .jobs import ClientCall, Ended, Piece, ScoredToken


def usage(ended: Ended) -> dict[str, int]:
    total = ended.prompt_tokens + ended.completion_tokens
    return {
        "prompt_tokens": ended.prompt_tokens,
        "completion_tokens": ended.completion_tokens,
        "total_tokens": total,
    }


def token_text(encoding: Encoding, token: int) -> str:
    """A token's text; one that is not whole characters is written as OpenAI does, ``bytes:\\xe2\\x80``."""
    text = encoding.decode_bytes([token])
    try:
        return text.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in text)


def merged(pieces: Iterable[Piece], choices: int) -> list[Piece]:
    """The pieces of each choice as one, without the calls that the server made."""
    whole = [Piece(choice) for choice in range(choices)]
    for piece in pieces:
        of_choice = whole[piece.choice]
        of_choice.text += piece.text
        of_choice.tokens += piece.tokens
        of_choice.client_call = of_choice.client_call or piece.client_call
        of_choice.finish = piece.finish or of_choice.finish
    return whole


def tool_call(call: ClientCall) -> dict[str, Any]:
    """A call that the client is to make."""
    arguments = json.dumps({call.argument: call.text}, ensure_ascii=False)
    function = {"name": call.tool, "arguments": arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def server_tool_call(call: ToolCall) -> dict[str, Any]:
    """A call that the server made: not OpenAI's, beside the message's text."""
    return {"type": call.tool, "input": call.text, "output": call.result, "seconds": call.seconds}


class StreamFormat(Protocol):
    """The chunks of a stream."""

    def beginning(self, choices: int) -> Iterator[dict[str, Any]]:
        """Those before the first piece."""
        ...

    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Those of a piece."""
        ...

    def ending(self, ended: Ended, with_usage: bool) -> Iterator[dict[str, Any]]:
        """Those after the last piece. with_usage: the request asks for counts of tokens."""
        ...


class ChatFormat:
    """``chat.completion`` and ``chat.completion.chunk``. model: its name in the answer."""

    def __init__(self, model: str, encoding: Encoding, scored: bool):
        self.model, self.encoding, self.scored = model, encoding, scored
        self.head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def whole(self, pieces: list[Piece], choices: int, ended: Ended) -> dict[str, Any]:
        calls: dict[int, list[dict[str, Any]]] = {}
        for piece in pieces:
            if piece.server_call is not None:
                calls.setdefault(piece.choice, []).append(server_tool_call(piece.server_call))
        return {
            **self.head,
            "object": "chat.completion",
            "choices": [self._choice(piece, calls.get(piece.choice)) for piece in merged(pieces, choices)],
            "usage": usage(ended),
        }

    def _choice(self, piece: Piece, server_calls: list[dict[str, Any]] | None) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": piece.text, "refusal": None}
        if piece.client_call is not None:
            message["content"] = piece.text or None
            message["tool_calls"] = [tool_call(piece.client_call)]
        if server_calls:
            message["server_tool_calls"] = server_calls
        return {
            "index": piece.choice,
            "message": message,
            "logprobs": self._log_probabilities(piece.tokens),
            "finish_reason": piece.finish,
        }

    def _log_probabilities(self, tokens: list[ScoredToken]) -> dict[str, Any] | None:
        if not self.scored:
            return None
        return {"content": [self._token(token) for token in tokens], "refusal": None}

    def _token(self, scored: ScoredToken) -> dict[str, Any]:
        tops = [self._entry(token, value) for token, value in scored.alternatives]
        return {**self._entry(scored.token, scored.log_probability or 0.0), "top_logprobs": tops}

    def _entry(self, token: int, value: float) -> dict[str, Any]:
        data = self.encoding.decode_bytes([token])
        return {"token": data.decode("utf-8", "replace"), "logprob": value, "bytes": list(data)}

    def beginning(self, choices: int) -> Iterator[dict[str, Any]]:
        """The first chunk of each choice, which has the role."""
        for choice in range(choices):
            yield self._chunk(choice, {"role": "assistant", "content": ""})

    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        delta: dict[str, Any] = {}
        if piece.text or piece.tokens:
            delta["content"] = piece.text
        if piece.server_call is not None:
            delta["server_tool_calls"] = [server_tool_call(piece.server_call)]
        if piece.client_call is not None:
            delta["tool_calls"] = [{"index": 0, **tool_call(piece.client_call)}]
        if delta:
            yield self._chunk(piece.choice, delta, piece.tokens)
        if piece.finish is not None:
            yield self._chunk(piece.choice, {}, finish=piece.finish)

    def _chunk(
        self, choice: int, delta: dict[str, Any], tokens: list[ScoredToken] | None = None, finish: str | None = None
    ) -> dict[str, Any]:
        scores = self._log_probabilities(tokens) if tokens else None
        item = {"index": choice, "delta": delta, "logprobs": scores, "finish_reason": finish}
        return {**self.head, "object": "chat.completion.chunk", "choices": [item]}

    def ending(self, ended: Ended, with_usage: bool) -> Iterator[dict[str, Any]]:
        if with_usage:
            yield {**self.head, "object": "chat.completion.chunk", "choices": [], "usage": usage(ended)}


class CompletionFormat:
    """``text_completion``, whole and in chunks."""

    def __init__(self, model: str, encoding: Encoding, scored: bool):
        self.model, self.encoding, self.scored = model, encoding, scored
        self.offsets: dict[int, int] = {}  # characters of each choice's tokens so far
        identifier = f"cmpl-{secrets.token_hex(12)}"
        self.head = {"id": identifier, "object": "text_completion", "created": int(time.time()), "model": model}

    def whole(self, pieces: list[Piece], choices: int, ended: Ended) -> dict[str, Any]:
        items = [self._choice(piece) for piece in merged(pieces, choices)]
        return {**self.head, "choices": items, "usage": usage(ended)}

    def _choice(self, piece: Piece) -> dict[str, Any]:
        return {
            "index": piece.choice,
            "text": piece.text,
            "logprobs": self._log_probabilities(piece) if self.scored else None,
            "finish_reason": piece.finish,
        }

    def _log_probabilities(self, piece: Piece) -> dict[str, Any]:
        """In the completions format. The chosen token is among the alternatives even if it is not one of the best."""
        texts: list[str] = []
        offsets: list[int] = []
        tops: list[dict[str, float] | None] = []
        for scored in piece.tokens:
            text = token_text(self.encoding, scored.token)
            texts.append(text)
            offsets.append(self.offsets.get(piece.choice, 0))
            self.offsets[piece.choice] = offsets[-1] + len(text)
            if scored.log_probability is None:
                tops.append(None)
                continue
            values: dict[str, float] = {}
            for token, value in [*scored.alternatives, (scored.token, scored.log_probability)]:
                values.setdefault(token_text(self.encoding, token), value)  # of tokens of one text, the most probable
            tops.append(values)
        scores = [scored.log_probability for scored in piece.tokens]
        return {"tokens": texts, "token_logprobs": scores, "top_logprobs": tops, "text_offset": offsets}

    def beginning(self, choices: int) -> Iterator[dict[str, Any]]:
        """Completions have no first chunk of their own."""
        yield from ()

    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        yield {**self.head, "choices": [self._choice(piece)]}

    def ending(self, ended: Ended, with_usage: bool) -> Iterator[dict[str, Any]]:
        if with_usage:
            yield {**self.head, "choices": [], "usage": usage(ended)}


Format = ChatFormat | CompletionFormat
