"""Requests and answers of the page's own endpoints, under ``/api/``. Unknown fields are errors, as in `protocol`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .protocol import ChatMessage, ModelRequest, SamplingRequest, Strict, TokenIds

MOST_CHARACTERS = 20_000  # of a text that is tokenised
PublishedName = Literal["gpt2", "cl100k_base", "o200k_base"]


class RenderRequest(ModelRequest):
    """A conversation to show as tokens. tools: those that the model is offered."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2048)]
    tools: Annotated[list[Literal["search", "python"]], Field(max_length=2)] = []


class TokenizeRequest(ModelRequest):
    """A text to show as the tokens of the model's tokenizer and of published ones."""

    text: Annotated[str, Field(max_length=MOST_CHARACTERS)]


class MergesRequest(ModelRequest):
    """A token whose merges are wanted. encoding: a published one, in place of the model's."""

    encoding: PublishedName | None = None
    id: Annotated[int, Field(ge=0, le=1 << 31)]


class ContinueRequest(SamplingRequest):
    """A document to continue, as text or as ids; without one, it is written from its beginning."""

    prompt: str | TokenIds | None = None

    @property
    def stream(self) -> bool:
        return True

    def includes_usage(self) -> bool:
        return False


class FrameRequest(Strict):
    """A page or report to draw in a frame. query: of its address, as the browser will send it."""

    path: Literal["api/data/raw", "api/pipeline/view"]
    query: Annotated[str, Field(min_length=1, max_length=4000, pattern="^[ -~]+$")]


class FrameBody(BaseModel):
    """address: to be opened within a minute, without the key."""

    address: str


class Token(BaseModel):
    """A token. bytes: of a token that is not whole characters; `token` then writes some of them as ``\\xe2``."""

    model_config = ConfigDict(extra="forbid")

    id: int
    token: str
    bytes: list[int] | None = None
    special: bool = False


class RenderedToken(Token):
    """trained: whether loss is computed on it."""

    trained: bool


class RenderBody(BaseModel):
    """A conversation as the model reads it. context: tokens that the model holds."""

    tokens: list[RenderedToken]
    context: int


class EncodingBody(BaseModel):
    """A text in one encoding.

    published: its name for a `MergesRequest`; None is the model's tokenizer. vocabulary: tokens that merges make.
    """

    name: str
    published: PublishedName | None
    vocabulary: int
    tokens: list[Token]


class TokenizeBody(BaseModel):
    """A text in bytes and in the tokens of each encoding."""

    characters: int
    bytes: int
    encodings: list[EncodingBody]


class MergesBody(BaseModel):
    """The steps in which byte pairs are merged into a token; the first one has its bytes."""

    steps: list[list[Token]]
