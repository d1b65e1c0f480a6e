"""Tool calls of a model: which tools a sequence has, a call's record, and completions that hold their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

TOOL_THREADS = 8


@dataclass(frozen=True)
class ToolCall:
    """A call that was made: the tool, the call's text, the result, and the seconds that it took."""

    tool: str
    text: str
    result: str
    seconds: float


@dataclass(frozen=True)
class PendingCall:
    """A call that a sequence has closed. allowed: False if the sequence has used up its calls."""

    tool: str
    text: str
    allowed: bool


@dataclass(frozen=True)
class Tools:
    """Tools by name (as in the token ``<|name_start|>``), each a function from the call's text to a result.

    A tool limits its own running time. calls: how many calls a sequence may make; the next one is answered with an
    error, and the one after that ends the sequence. result_tokens: longer results are cut.
    """

    tools: Mapping[str, Callable[[str], str]]
    calls: int = 3
    result_tokens: int = 512

    def run(self, name: str, text: str) -> str:
        """The tool's result, or the error as a text for the model to read."""
        if name not in self.tools:
            return f"Error: there is no tool {name}."
        try:
            return self.tools[name](text)
        except Exception as error:  # whether the model's fault or the tool's: it must not end the batch
            return f"Error: {type(error).__name__}: {error}"

    def answer(self, call: PendingCall) -> ToolCall:
        """Make a call, or refuse it."""
        began = time.perf_counter()
        result = self.run(call.tool, call.text) if call.allowed else f"Error: no more than {self.calls} calls."
        return ToolCall(call.tool, call.text, result, round(time.perf_counter() - began, 4))

    def answer_all(self, calls: Sequence[PendingCall]) -> list[ToolCall]:
        """Make calls in parallel."""
        if len(calls) == 1:
            return [self.answer(calls[0])]
        with ThreadPoolExecutor(TOOL_THREADS) as threads:
            return list(threads.map(self.answer, calls))


@dataclass
class Completion:
    """What followed one prompt.

    tokens: sampled tokens and tool output; from_tool: which are tool output. log_probabilities: in nats, of the model
    itself at temperature 1; 0 for tool output. finish: ``stop``, ``length``, ``context`` or ``calls``. stop: the
    token that was drawn last if it ended the sequence and is not part of `tokens`.
    """

    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    finish: str = ""
    from_tool: list[bool] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    stop: int | None = None

    @property
    def own_length(self) -> int:
        """Number of tokens that the model itself sampled."""
        return len(self.tokens) - sum(self.from_tool)

    def add(self, token: int, log_probability: float = 0.0, from_tool: bool = False) -> None:
        self.tokens.append(token)
        self.log_probabilities.append(log_probability)
        self.from_tool.append(from_tool)

    def add_output(self, call: ToolCall, tokens: Sequence[int]) -> None:
        """Add a call that was made, and the tokens of its result."""
        self.calls.append(call)
        for token in tokens:
            self.add(token, from_tool=True)
