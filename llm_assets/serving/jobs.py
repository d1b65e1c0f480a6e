"""A request while it is answered: what it asks for, and the pieces of the answer on their way to the client."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llm_assets.model.sampling import Sampling
from llm_assets.model.tool_calls import ToolCall, Tools

from .errors import ApiError
from .pool import LoadedModel

if TYPE_CHECKING:
    from .generation import Generation


@dataclass(frozen=True)
class ScoredToken:
    """A token of an answer or of an echoed prompt.

    log_probability: None for a token that nothing precedes. alternatives: the most probable tokens at its place.
    entropy: of the distribution at its place, in bits; None without alternatives.
    """

    token: int
    log_probability: float | None
    alternatives: tuple[tuple[int, float], ...] = ()
    entropy: float | None = None


@dataclass(frozen=True)
class ClientCall:
    """A call that the client is to make. argument: the name of the one that holds the text."""

    tool: str
    argument: str
    text: str


@dataclass
class Piece:
    """Some of one choice.

    choice: its index. server_call: a call that the server made. client_call: a call that the client is to make.
    finish: why the choice ends here, as the API names it.
    """

    choice: int
    text: str = ""
    tokens: list[ScoredToken] = field(default_factory=list)
    server_call: ToolCall | None = None
    client_call: ClientCall | None = None
    finish: str | None = None


@dataclass(frozen=True)
class Started:
    """The request has been admitted: it is valid, and its model is loaded."""

    model: LoadedModel


@dataclass(frozen=True)
class Ended:
    """The last event of a request that was answered, with its counts of tokens."""

    prompt_tokens: int
    completion_tokens: int


Event = Started | Piece | Ended | ApiError


@dataclass(frozen=True)
class Prompt:
    """A choice to be sampled.

    tokens: of the prompt. is_copy: the choice before this one has the same prompt. number: of the random stream. echo:
    give the prompt back. first_shown: its first token that is shown; BOS that the server added is not. in_turn: the
    answer is an assistant's turn, and its first space the protocol's. scored: log-probabilities are wanted. tools:
    those that the server runs; None if the model was offered none. client_tools: those that the client runs, with the
    name of the argument of each.
    """

    tokens: Sequence[int]
    sampling: Sampling
    number: int = 0
    is_copy: bool = False
    echo: bool = False
    first_shown: int = 0
    in_turn: bool = False
    stops: tuple[str, ...] = ()
    scored: bool = False
    tools: Tools | None = None
    client_tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Job:
    """A request in the worker's hands.

    prepare: makes the prompts, in the worker's thread; raises ApiError. folder: of the model. choices: how many.
    deliver: takes events to the client; safe from any thread. deadline: of `time.monotonic`. streams: events are
    delivered as they come; otherwise at the end. unread: choices whose prompt is not read yet, those of one prompt
    together.
    """

    prepare: Callable[[LoadedModel], list[Prompt]]
    folder: Path
    choices: int
    deliver: Callable[[list[Event]], None]
    deadline: float
    streams: bool
    is_cancelled: bool = False
    open_choices: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    pending: list[Event] = field(default_factory=list)
    unread: deque[list[Generation]] = field(default_factory=deque)

    def cancel(self) -> None:
        """Sample nothing more for this request: its client has gone."""
        self.is_cancelled = True
