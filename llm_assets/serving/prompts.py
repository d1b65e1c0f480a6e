"""From a request to the prompts that are sampled. What a client writes never becomes a special token."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm_assets.dialogue.messages import ARGUMENTS
from llm_assets.model.assistant import system_message
from llm_assets.model.chat import TOOLS, ConversationError, Message, prompt
from llm_assets.model.encoding import BOS, ENDS_TURN, Encoding
from llm_assets.model.huggingface import generation_config
from llm_assets.model.sampling import Sampling
from llm_assets.model.tool_calls import Tools

from .encodings import ReadsText
from .errors import ApiError, invalid
from .histories import history
from .jobs import Prompt
from .limits import Limits
from .pool import LoadedModel
from .protocol import ChatMessage, ChatRequest, CompletionRequest, Function, FunctionTool, NamedTool, SamplingRequest

DEFAULT_COMPLETION = 16  # tokens, as OpenAI's
NORMALISED = 4  # times that Unicode normalisation may shorten a text, generously
# Characters of a text, at most: tiktoken panics at a million of spaces, the limit of its regular expressions' stack.
LONGEST_TEXT = 500_000
SMALLEST_TEMPERATURE = 1e-5  # logits divided by less than this overflow; the most probable token is as good as certain
MOST_SCORES = 1 << 20  # log-probabilities in one answer; with its names and bytes, each takes about 200 bytes
LEARNT = f"the models have been trained to call {' and '.join(TOOLS)} only"
ServerTools = Mapping[str, Callable[[str], str]]


def sampling_of(request: SamplingRequest, limits: Limits, max_tokens: int | None) -> Sampling:
    """How a request is sampled; temperature and top_p are 1 by default, as in OpenAI's API. Raises ApiError."""
    if max_tokens is not None and max_tokens > limits.max_tokens:
        raise invalid(f"max_tokens is {max_tokens}; the server samples at most {limits.max_tokens}", "max_tokens")
    temperature = 1.0 if request.temperature is None else request.temperature
    return Sampling(
        max_tokens=limits.max_tokens if max_tokens is None else max_tokens,
        temperature=0.0 if temperature < SMALLEST_TEMPERATURE else temperature,
        top_k=max(request.top_k or 0, 0),
        top_p=1.0 if request.top_p is None else max(request.top_p, 1e-9),  # 0 takes the most probable token
        seed=secrets.randbits(63) if request.seed is None else request.seed % (1 << 63),
    )


def check_score_count(choices: int, sampling: Sampling, alternatives: int | None) -> None:
    """Refuse more log-probabilities in one answer than fit into memory. alternatives: None for no scores."""
    scores = 0 if alternatives is None else choices * sampling.max_tokens * (alternatives + 1)
    if scores > MOST_SCORES:
        raise invalid(
            f"{choices} choices of {sampling.max_tokens} tokens with {alternatives} alternatives each would have "
            f"{scores:,} log-probabilities, and {MOST_SCORES:,} are allowed; set max_tokens",
            "max_tokens",
        )


def copies(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """`count` choices of each prompt, each with a random stream of its own."""
    return [
        replace(prompt, number=place * count + copy, is_copy=copy > 0)
        for place, prompt in enumerate(prompts)
        for copy in range(count)
    ]


def check_length(model: ReadsText, texts: Iterator[str] | Sequence[str]) -> None:
    """Refuse texts that cannot fit or be tokenised, before they are tokenised. Raises ApiError."""
    encoding, texts = model.encoding, list(texts)
    characters = sum(map(len, texts))
    if characters > LONGEST_TEXT:
        raise too_long(f"a text of {characters:,} characters, more than {LONGEST_TEXT:,},", model)
    longest = int(encoding.token_bytes.max()) * (1 if encoding.normaliser is None else NORMALISED)
    size = sum(len(text.encode()) for text in texts)
    if size > longest * model.shape.context:
        raise too_long(f"a text of {size:,} bytes", model)


def too_long(subject: str, model: ReadsText) -> ApiError:
    return invalid(
        f"{subject} is too long: the model's context holds {model.shape.context:,} tokens, and one must be left for "
        "the answer",
        "messages",
        "context_length_exceeded",
    )


def check_fits(model: ReadsText, tokens: Sequence[int], room: int = 1) -> None:
    """Raise ApiError unless a prompt leaves room for so many tokens."""
    if len(tokens) + room > model.shape.context + 1:
        raise too_long(f"a prompt of {len(tokens):,} tokens", model)


# Chat


def chat_prompts(request: ChatRequest, tools: ServerTools, limits: Limits) -> Callable[[LoadedModel], list[Prompt]]:
    """The choices of a chat request, made once the model is loaded. Raises ApiError, also when that is called."""
    max_tokens = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    sampling = sampling_of(request, limits, max_tokens)
    if request.top_logprobs and not request.logprobs:
        raise invalid("top_logprobs needs logprobs to be true", "top_logprobs")
    check_score_count(request.n or 1, sampling, (request.top_logprobs or 0) if request.logprobs else None)
    offered = offered_tools(request, tools)

    def prepare(model: LoadedModel) -> list[Prompt]:
        if not model.is_chat:
            raise invalid("the model has not been trained on conversations; use /v1/completions", "model")
        special = model.encoding.special
        tokens = chat_tokens(request, sorted(offered), model)
        opening = opening_tool(request, offered)
        # After a call that nobody can make the model would invent the result.
        not_offered = [special[f"<|{name}_start|>"] for name in TOOLS if name not in offered]
        of_turn = replace(
            sampling,
            stop=(special[BOS], special[ENDS_TURN], *not_offered),
            opening=None if opening is None else special[f"<|{opening}_start|>"],
            alternatives=request.top_logprobs or 0,
        )
        server_tools = {name: tools[name] for name, argument in offered.items() if argument is None}
        whole = Prompt(
            tokens,
            of_turn,
            in_turn=True,
            stops=request.stops(),
            scored=bool(request.logprobs),
            tools=Tools(server_tools, limits.calls, limits.result_tokens) if offered else None,
            client_tools={name: argument for name, argument in offered.items() if argument is not None},
        )
        return copies([whole], request.n or 1)

    return prepare


def offered_tools(request: ChatRequest, tools: ServerTools) -> dict[str, str | None]:
    """The tools that the model may call; for one that the client runs, the name of its argument. Raises ApiError.

    Functions of other names are left out: a model that has not learnt to call them never does.
    """
    if request.tool_choice == "none":
        return {}
    offered: dict[str, str | None] = {}
    for place, tool in enumerate(request.tools or []):
        name = tool.function.name if isinstance(tool, FunctionTool) else tool.type
        if name not in TOOLS:
            continue
        if name in offered:
            raise invalid(f"tool {name!r} is offered twice", "tools")
        if isinstance(tool, FunctionTool):
            offered[name] = argument_name(tool.function, f"tools[{place}].function.parameters")
        elif name in tools:
            offered[name] = None
        else:
            raise invalid(f"the server has no tool {name!r}: its index is not built", f"tools[{place}].type")
    return offered


def argument_name(function: Function, param: str) -> str:
    """The name of a function's text: that of its only required parameter, or of its only text.

    Without either it is that of the server's tool. Raises ApiError for a function that requires several parameters, or
    one that is no text.
    """
    schema = function.parameters if isinstance(function.parameters, dict) else {}
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    texts = [name for name, value in properties.items() if not isinstance(value, dict) or _holds_text(value)]
    required = schema.get("required")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    wrong = [name for name in names if name in properties and name not in texts]
    if len(names) > 1 or wrong:
        raise invalid(f"{function.name} is called with one text; the function requires {', '.join(names)[:200]}", param)
    names = names or texts
    return names[0] if len(names) == 1 else ARGUMENTS[function.name]


def _holds_text(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type", "string")
    return kind == "string" or (isinstance(kind, list) and "string" in kind)


def opening_tool(request: ChatRequest, offered: Mapping[str, str | None]) -> str | None:
    """The tool that the answer has to begin with, by `tool_choice`. Raises ApiError."""
    choice = request.tool_choice
    if isinstance(choice, NamedTool):
        name = choice.function.name
        if name not in offered:
            raise invalid(f"tool_choice names {name!r}, which is not in tools, or not learnt: {LEARNT}", "tool_choice")
        return name
    if choice != "required":
        return None
    if not offered:
        raise invalid(f"tool_choice 'required' needs a tool that can be called: {LEARNT}", "tool_choice")
    if len(offered) > 1:
        raise invalid("tool_choice 'required' needs exactly one tool; name the function instead", "tool_choice")
    return next(iter(offered))


def chat_tokens(request: ChatRequest, tools: Sequence[str], model: ReadsText) -> list[int]:
    """The tokens of a conversation up to the assistant's next text. Raises ApiError."""
    try:
        tokens = prompt(model.encoding, conversation(request.messages, tools, model), strict=False)
    except ConversationError as error:
        raise invalid(str(error), "messages") from error
    check_fits(model, tokens)
    return tokens


def conversation(items: Sequence[ChatMessage], tools: Sequence[str], model: ReadsText) -> list[Message]:
    """The messages that a model reads: the system message lists the tools. Raises ConversationError and ApiError."""
    messages = history([item.model_dump(exclude_none=True) for item in items])
    texts = (text for message in messages for text in (message.content, message.call.text if message.call else ""))
    check_length(model, texts)
    instructions = messages.pop(0).content if messages and messages[0].role == "system" else ""
    system = system_message(tools, instructions)
    return [*([system] if system else []), *messages]


# Completions


def completion_prompts(request: CompletionRequest, limits: Limits) -> Callable[[LoadedModel], list[Prompt]]:
    """The choices of a completion request, made once the model is loaded. Raises ApiError."""
    max_tokens = min(DEFAULT_COMPLETION, limits.max_tokens) if request.max_tokens is None else request.max_tokens
    sampling = sampling_of(request, limits, max_tokens)
    check_score_count(len(prompt_items(request.prompt)) * (request.n or 1), sampling, request.logprobs)
    if request.echo and request.stream:
        raise invalid("echo cannot be streamed", "echo")

    def prepare(model: LoadedModel) -> list[Prompt]:
        with_stop = replace(sampling, stop=document_ends(model), alternatives=request.logprobs or 0)
        prompts = []
        for place, item in enumerate(prompt_items(request.prompt)):
            tokens, added = document_tokens(item, place, model)
            check_fits(model, tokens, room=min(1, sampling.max_tokens))
            prompts.append(
                Prompt(
                    tokens,
                    with_stop,
                    echo=bool(request.echo),
                    first_shown=added,
                    stops=request.stops(),
                    scored=request.logprobs is not None,
                )
            )
        return copies(prompts, request.n or 1)

    return prepare


def document_ends(model: LoadedModel) -> tuple[int, ...]:
    """The ids at which a document that is continued ends."""
    ends = generation_config(model.encoding, model.is_chat)["eos_token_id"]
    return tuple(ends) if isinstance(ends, list) else (ends,)


def prompt_items(value: Any) -> list[str | list[int]]:
    """The prompts of a request: it may have one or several, each as a text or as ids."""
    if value is None:
        return [""]
    if isinstance(value, str) or isinstance(value[0], int):
        return [value]
    return list(value)


def document_tokens(item: str | list[int], place: int, model: ReadsText) -> tuple[list[int], int]:
    """The tokens of a prompt, which begins a document, and the number of those that the server added (BOS or none).

    The only special id allowed is BOS, in first place. Raises ApiError.
    """
    encoding: Encoding = model.encoding
    if isinstance(item, str):
        check_length(model, [item])
        return encoding.document(item), 1
    check_fits(model, item)
    added = 0 if item[0] == encoding.bos else 1
    wrong = [token for token in item[1 - added :] if token not in encoding.text_ids]
    if wrong:
        raise invalid(
            f"prompt {place} has the id {wrong[0]}, which is not text: a special token or outside the vocabulary",
            "prompt",
        )
    return [encoding.bos] * added + list(item), added
