"""What the page asks for beside OpenAI's API: conversations, documents and texts as tokens."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from llm_assets.model.chat import ConversationError, render
from llm_assets.model.encoding import Encoding
from llm_assets.model.tokenizer_files import merge_steps

from .answers import usage
from .bounded_threads import BoundedThreads
from .encodings import TextReader
from .errors import invalid
from .exchange import Exchange
from .frame_links import signed_link
from .jobs import Ended, Piece, Prompt, ScoredToken
from .limits import Limits
from .page_protocol import (
    ContinueRequest,
    FrameBody,
    FrameRequest,
    MergesBody,
    MergesRequest,
    RenderBody,
    RenderRequest,
    Token,
    TokenizeBody,
    TokenizeRequest,
)
from .pool import LoadedModel
from .prompts import check_fits, conversation, document_ends, document_tokens, sampling_of
from .service import Service

ALTERNATIVES = 10
DEFAULT_CONTINUATION = 64  # tokens
AT_ONE_TIME = 2  # texts that are tokenised at a time; others wait


def add_page_routes(app: FastAPI, service: Service) -> None:
    """The endpoints under ``/api/``; they pass the checks of all others (`RequestChecks`)."""
    threads = BoundedThreads(AT_ONE_TIME, service.limits.queue, "tokenise texts")

    async def reader(name: str | None) -> TextReader:
        _, folder = await asyncio.to_thread(service.checkpoints.find, name)
        return await asyncio.to_thread(service.encodings.of, folder)

    @app.post("/api/render", response_model=RenderBody)
    async def rendered(body: RenderRequest) -> Response:
        """A conversation as tokens, and which of them are trained."""
        return json_response(await threads.run(render_conversation, body, await reader(body.model)))

    @app.post("/api/frame")
    async def frame(body: FrameRequest) -> FrameBody:
        """The address at which a frame, which cannot send the key, opens a page or report."""
        return FrameBody(address=signed_link(service.key, f"/{body.path}", body.query).removeprefix("/"))

    @app.post("/api/tokenize", response_model=TokenizeBody)
    async def tokenized(body: TokenizeRequest) -> Response:
        """A text as tokens, in the model's tokenizer and in the published ones that are on this machine."""
        text_reader = await reader(body.model)
        return json_response(await threads.run(tokenize, body.text, text_reader.encoding, service.encodings.published))

    @app.post("/api/merges", response_model_exclude_defaults=True)
    async def merges(body: MergesRequest) -> MergesBody:
        """The merges that make a token."""
        if body.encoding is None:
            encoding = (await reader(body.model)).encoding
        else:
            published = await threads.run(service.encodings.published)
            if body.encoding not in published:
                raise invalid(f"the ranks of {body.encoding} are not on this machine", "encoding")
            encoding = published[body.encoding]
        return await threads.run(merges_of, encoding, body.id)

    @app.post("/api/continue", response_class=Response)
    async def continued(request: Request, body: ContinueRequest) -> Response:
        """A stream of the document's tokens and of those that continue it, each with its alternatives."""
        exchange = await Exchange.begin(service, body, document_prompt(body, service.limits), 1)
        return await exchange.stream(request, TokenFormat)


# Tokens


def token_fields(encoding: Encoding, number: int) -> dict[str, Any]:
    """The fields of a `Token`."""
    data = encoding.decode_bytes([number])
    fields: dict[str, Any] = {"id": number}
    fields["token"] = data.decode("utf-8", "backslashreplace")
    if data.decode("utf-8", "ignore").encode() != data:
        fields["bytes"] = list(data)
    if number not in encoding.text_ids:
        fields["special"] = True
    return fields


class TokensAsJson(dict[int, str]):
    """The JSON of each token of an encoding, written when it is first asked for.

    A text may have tens of thousands of tokens, and while objects are made of them, no other thread of Python runs.
    """

    def __init__(self, encoding: Encoding):
        super().__init__()
        self.encoding = encoding

    def __missing__(self, number: int) -> str:
        self[number] = json.dumps(token_fields(self.encoding, number))
        return self[number]


def with_list(fields: dict[str, Any], name: str, items: Iterable[str]) -> str:
    """The JSON of an object with a list, whose items are JSON already."""
    return f'{json.dumps(fields)[:-1]}, "{name}": [{", ".join(items)}]}}'


def json_response(content: str) -> Response:
    return Response(content, media_type="application/json")


def render_conversation(request: RenderRequest, reader: TextReader) -> str:
    """The tokens of a conversation as they are in training, or up to the answer that is still missing: a RenderBody."""
    encoding = reader.encoding
    try:
        messages = conversation(request.messages, request.tools, reader)
        ids, trained = render(encoding, messages, complete=False, strict=False)
    except ConversationError as error:
        raise invalid(str(error), "messages") from error
    if messages[-1].role == "user":
        ids, trained = [*ids, encoding.special["<|assistant_start|>"]], [*trained, False]
    tokens = TokensAsJson(encoding)
    marks = {is_trained: f', "trained": {json.dumps(is_trained)}}}' for is_trained in (True, False)}
    items = (tokens[number][:-1] + marks[is_trained] for number, is_trained in zip(ids, trained, strict=True))
    return with_list({"context": reader.shape.context}, "tokens", items)


def tokenize(text: str, of_model: Encoding, published: Callable[[], dict[str, Encoding]]) -> str:
    """A text in the tokens of the model and of the published encodings: a TokenizeBody."""
    bodies = [_in_encoding(text, of_model, None)]
    bodies += [_in_encoding(text, encoding, name) for name, encoding in published().items()]
    return with_list({"characters": len(text), "bytes": len(text.encode())}, "encodings", bodies)


def _in_encoding(text: str, encoding: Encoding, name: str | None) -> str:
    fields = {"name": encoding.name, "published": name, "vocabulary": len(encoding.ranks)}
    return with_list(fields, "tokens", map(TokensAsJson(encoding).__getitem__, encoding.encode(text)))


def merges_of(encoding: Encoding, number: int) -> MergesBody:
    """The steps of `merge_steps`, and the token. Raises ApiError (400) for an id outside the vocabulary."""
    if number >= encoding.size:
        raise invalid(f"{number} is no id: the vocabulary has {encoding.size:,}", "id")
    steps = [[number]]
    data = encoding.decode_bytes([number])
    if encoding.ranks.get(data) == number and len(data) > 1:
        parts = [[encoding.ranks[part] for part in step] for step in merge_steps(data, encoding.ranks)]
        steps = parts + steps
    return MergesBody(steps=[[Token(**token_fields(encoding, part)) for part in step] for step in steps])


# Documents


def document_prompt(request: ContinueRequest, limits: Limits) -> Callable[[LoadedModel], list[Prompt]]:
    """The prompt, which is given back with its scores. Raises ApiError, also when that is called."""
    max_tokens = min(DEFAULT_CONTINUATION, limits.max_tokens) if request.max_tokens is None else request.max_tokens
    sampling = sampling_of(request, limits, max_tokens)

    def prepare(model: LoadedModel) -> list[Prompt]:
        tokens, _ = document_tokens(request.prompt or "", 0, model)
        check_fits(model, tokens, room=min(1, max_tokens))
        with_stop = replace(sampling, stop=document_ends(model), alternatives=ALTERNATIVES)
        return [Prompt(tokens, with_stop, echo=True, scored=True)]

    return prepare


class TokenFormat:
    """Chunks of tokens, each with its probability, the most probable ones at its place, and the entropy in bits."""

    def __init__(self, encoding: Encoding):
        self.encoding = encoding

    def beginning(self, choices: int) -> Iterator[dict[str, Any]]:
        """Nothing: the first chunk has the document's tokens."""
        yield from ()

    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        chunk: dict[str, Any] = {"tokens": [self._token(token) for token in piece.tokens]}
        if piece.finish is not None:
            chunk["finish_reason"] = piece.finish
        yield chunk

    def ending(self, ended: Ended, with_usage: bool) -> Iterator[dict[str, Any]]:
        yield {"tokens": [], "usage": usage(ended)}

    def _token(self, scored: ScoredToken) -> dict[str, Any]:
        fields = token_fields(self.encoding, scored.token)
        if scored.log_probability is None:
            return fields
        alternatives = [
            {**token_fields(self.encoding, number), "probability": round(math.exp(value), 6)}
            for number, value in scored.alternatives
        ]
        return {
            **fields,
            "probability": round(math.exp(scored.log_probability), 6),
            "entropy": round(scored.entropy or 0.0, 4),
            "alternatives": alternatives,
        }
