"""Requests of OpenAI's API (platform.openai.com/docs/api-reference), as far as the server understands them.

A field that OpenAI does not have is an error, as there. Fields that OpenAI has and that would change the answer, such
as penalties, are errors unless they have their neutral value. Fields without an effect on the answer are ignored.

Lists stop at their first error, and objects have few fields: a body of a megabyte could have a million errors, each of
which pydantic holds in memory.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

MOST_CHOICES = 128  # n of OpenAI's API
MOST_TOOLS = 128  # as OpenAI's API
MOST_STOPS = 16  # OpenAI allows 4; lm-evaluation-harness sends more
MOST_ALTERNATIVES = 20
LARGEST_SEED = (1 << 63) - 1
MOST_FIELDS = 100  # of an object; OpenAI's requests have about 40
MOST_PARTS = 1024  # of a message's content
MOST_PROMPTS = 1024
MOST_IDS = 1 << 18


def _is_neutral(value: Any) -> Any:
    if value:
        raise ValueError("not supported; leave it out")
    return value


Penalty = Annotated[
    float | None,
    AfterValidator(_is_neutral),
    Field(description="Only 0: penalties are not implemented.", json_schema_extra={"minimum": 0, "maximum": 0}),
]
NoBias = Annotated[dict[str, Any] | None, AfterValidator(_is_neutral), Field(json_schema_extra={"maxProperties": 0})]
Ignored = Annotated[Any, Field(description="Accepted and ignored.")]


class Strict(BaseModel):
    """A part of a request: no conversions, no unknown fields, and numbers that are finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MOST_FIELDS:
            raise ValueError(f"{len(value):,} fields; an object may have {MOST_FIELDS}")
        return value


class StreamOptions(Strict):
    """include_usage: end the stream with a chunk of token counts."""

    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class ModelRequest(Strict):
    """A request to a model. model: a name of a checkpoint; None is the default one."""

    model: Annotated[str | None, Field(max_length=300)] = None


class SamplingRequest(ModelRequest):
    """How an answer is sampled. `top_k` is not OpenAI's; 0 and -1 take all tokens."""

    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=-1, le=1 << 20)] = None
    max_tokens: Annotated[int | None, Field(ge=0, le=1 << 31)] = None
    seed: Annotated[int | None, Field(ge=-LARGEST_SEED - 1, le=LARGEST_SEED)] = None


class StreamedRequest(Protocol):
    """What a request's way through the worker depends on."""

    @property
    def model(self) -> str | None: ...

    @property
    def stream(self) -> bool | None: ...

    def includes_usage(self) -> bool:
        """Whether each chunk of a stream has a field for usage."""
        ...


class GenerationRequest(SamplingRequest):
    """What both kinds of completion have in common."""

    n: Annotated[int | None, Field(ge=1, le=MOST_CHOICES)] = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS, fail_fast=True)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    logit_bias: NoBias = None
    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None

    @field_validator("stream_options")
    @classmethod
    def _is_of_stream(cls, value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if value is not None and not info.data.get("stream", True):  # absent if it is wrong itself
            raise ValueError("only allowed if stream is true")
        return value

    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        texts = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in texts if text)

    def includes_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatMessage(BaseModel):
    """A message. Fields that an answer of the API has besides these may be sent back and are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[dict[str, Any]], Field(max_length=MOST_PARTS, fail_fast=True)] | None = None
    tool_calls: Annotated[list[dict[str, Any]] | None, Field(max_length=MOST_TOOLS, fail_fast=True)] = None
    tool_call_id: Annotated[str | None, Field(max_length=300)] = None


class Function(Strict):
    """A function of the client's. The model's training decides which it calls, and with what."""

    name: Annotated[str, Field(max_length=64)]
    description: Ignored = None
    parameters: Ignored = None
    strict: Ignored = None


class FunctionTool(Strict):
    """A tool that the client runs: its calls are returned as ``tool_calls``."""

    type: Literal["function"]
    function: Function


class ServerTool(Strict):
    """A tool that the server runs, as OpenAI's built-in tools: its result is read, and the answer goes on."""

    type: Literal["search", "python"]


class FunctionName(Strict):
    name: str


class NamedTool(Strict):
    """Begin the answer with a call of this tool."""

    type: Literal["function"]
    function: FunctionName


class ResponseFormat(Strict):
    """Only text."""

    type: Literal["text"]


class ChatRequest(GenerationRequest):
    """The body of ``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2048, fail_fast=True)]
    max_completion_tokens: Annotated[int | None, Field(ge=0, le=1 << 31)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MOST_ALTERNATIVES)] = None
    tools: Annotated[list[FunctionTool | ServerTool] | None, Field(max_length=MOST_TOOLS, fail_fast=True)] = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: Ignored = None
    response_format: ResponseFormat | None = None
    modalities: Annotated[list[Literal["text"]] | None, Field(max_length=1, fail_fast=True)] = None
    functions: None = None
    function_call: Literal["none", "auto"] | None = None
    prediction: None = None
    audio: None = None
    reasoning_effort: Ignored = None
    verbosity: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    moderation: None = None
    web_search_options: None = None


TokenIds = Annotated[list[int], Field(min_length=1, max_length=MOST_IDS, fail_fast=True)]
Prompts = Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)


class CompletionRequest(GenerationRequest):
    """The body of ``POST /v1/completions``. Without a prompt, a document is written from its beginning."""

    prompt: str | Annotated[list[str], Prompts] | TokenIds | Annotated[list[TokenIds], Prompts] | None = None
    echo: bool | None = None
    logprobs: Annotated[int | None, Field(ge=0, le=MOST_ALTERNATIVES)] = None
    suffix: None = None
    best_of: Literal[1] | None = None


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of an error."""

    error: ErrorDetail


class Usage(BaseModel):
    """Tokens of all prompts (and of results that server tools returned), sampled tokens, and their sum."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionBody(BaseModel):
    """What both kinds of completion answer with."""

    id: str
    object: Literal["chat.completion", "text_completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: Usage


class ModelBody(BaseModel):
    """A checkpoint that can be named in `model`.

    The fields after `owned_by` are not OpenAI's. chat: whether it has been trained on conversations. tools: those that
    it has learnt to call and that the server runs. context: tokens that it holds. default: whether it answers requests
    that name no model. stale: whether its inputs have changed since it was built.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    chat: bool
    tools: list[str]
    context: int
    default: bool
    stale: bool


class ModelList(BaseModel):
    """max_tokens: of an answer at most, by the server's limit; it is not OpenAI's."""

    object: Literal["list"]
    data: list[ModelBody]
    max_tokens: int
