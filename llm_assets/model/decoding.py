"""Decoding: sequences that are sampled together, one token per step, with tool calls answered in place.

When a sequence closes a tool call, the tool runs, its output is put into the sequence, and sampling continues after it.
The other sequences of the batch go on undisturbed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .cache import KeyValueCache
from .chat import TOOLS, decode_text, encode_text
from .choosing import Sampling, choose, uniform_draws
from .decoding_graph import DecodingGraph
from .encoding import Encoding
from .prefill import CachedModel
from .tool_calls import Completion, PendingCall, ToolCall, Tools

COMPACT_SHARE = 0.25  # share of finished sequences at which the batch is rebuilt without them
ANSWER_ROOM = 16  # tokens of the context that a tool's output leaves free for the answer
TURN_TOKENS = 5  # the token that closes a call, and the four special tokens around its result


@dataclass(frozen=True)
class Choice:
    """One token of a stream, the sequence that it belongs to, and its log-probability.

    call: for tool output, the call whose result the token belongs to.
    """

    sequence: int
    token: int
    log_probability: float
    call: ToolCall | None = None


def tool_turn(encoding: Encoding, result: str, max_tokens: int) -> list[int]:
    """A tool's turn as tokens, with at most `max_tokens` tokens of the result."""
    special = encoding.special
    return [
        special["<|tool_start|>"],
        special["<|result_start|>"],
        *encode_text(encoding, result)[:max_tokens],
        special["<|result_end|>"],
        special["<|tool_end|>"],
    ]


def room_for_output(context: int, length: int) -> int:
    """Tokens of a tool's output that the context has room for. length: of the sequence before the call's last token."""
    return context - length - TURN_TOKENS - ANSWER_ROOM


def pending_call(call: tuple[str, str], completion: Completion, room: int, tools: Tools) -> PendingCall | str:
    """The call to make or refuse; or why the completion ends instead: no room, or a call again after a refusal.

    call: its tool and text. room: tokens of output that there is room for.
    """
    if room < 1:
        return "context"
    if len(completion.calls) > tools.calls:
        return "calls"
    return PendingCall(*call, allowed=len(completion.calls) < tools.calls)


class CallReader:
    """Recognises tool calls in sampled tokens."""

    def __init__(self, encoding: Encoding):
        self.encoding = encoding
        self._ends = {encoding.special[f"<|{name}_end|>"]: name for name in TOOLS}

    def closed_call(self, completion: Completion) -> tuple[str, str] | None:
        """Tool and text of the call that the last token closes; None if it closes none, or a malformed one."""
        name = self._ends.get(completion.tokens[-1])
        if name is None:
            return None
        start = self.encoding.special[f"<|{name}_start|>"]
        for place in range(len(completion.tokens) - 2, -1, -1):
            token = completion.tokens[place]
            if completion.from_tool[place]:
                return None
            if token == start:
                return name, decode_text(self.encoding, completion.tokens[place + 1 : -1])
            if token not in self.encoding.text_ids:  # another special token: the call is malformed
                return None
        return None


class Decoder:
    """The state of a batch that is being sampled.

    completions: of all sequences. rows: the sequence that each row of the batch holds; finished sequences are dropped
    from the batch now and then. ended: whether a row's sequence is finished. lengths: (rows,) tokens in the cache.
    """

    def __init__(
        self,
        model: CachedModel,
        encoding: Encoding,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        samples: int,
        tools: Tools | None,
    ):
        self.model, self.encoding, self.sampling, self.tools = model, encoding, sampling, tools
        self.calls = CallReader(encoding)
        self.until = [text.encode() for text in sampling.until if text]
        self.cache, self.lengths, self.logits = model.prefill(prompts)
        if samples > 1:
            copies = torch.arange(len(prompts), device=self.lengths.device).repeat_interleave(samples)
            self.cache.select(copies)
            self.lengths, self.logits = self.lengths[copies], self.logits[copies]
        self.completions = [Completion() for _ in range(len(prompts) * samples)]
        self.rows = list(range(len(self.completions)))
        self.ended = [False] * len(self.completions)
        self.graph = DecodingGraph(model) if self.lengths.is_cuda else None

    def run(self, first: int) -> Iterator[list[Choice]]:
        """Sample until all sequences have ended; the tokens of each step. first: number of the first random stream."""
        draws = uniform_draws(self.sampling, first, len(self.completions))
        for step in range(self.sampling.max_tokens):
            chosen = self._choose(step, draws)
            choices = self._append(step, chosen)
            outputs = self._answer_calls() if self.tools else {}
            for place, (call, tokens) in outputs.items():
                choices += [Choice(self.rows[place], token, 0.0, call) for token in tokens]
            if choices:
                yield choices
            if all(self.ended):
                return
            if outputs:
                chosen = self._feed_outputs(chosen, {place: tokens for place, (_, tokens) in outputs.items()})
            if sum(self.ended) >= COMPACT_SHARE * len(self.rows):
                chosen = self._drop_ended(chosen)
            self._advance(chosen)

    def _choose(self, step: int, draws: Tensor) -> Tensor:
        """The next token of each row, (rows,)."""
        if step == 0 and self.sampling.opening is not None:
            return torch.full((len(self.rows),), self.sampling.opening, device=self.logits.device)
        return choose(self.logits, self.sampling, draws[self.rows, step])

    def _append(self, step: int, chosen: Tensor) -> list[Choice]:
        """Append the chosen tokens to their sequences, and end those that are finished."""
        sampling = self.sampling
        log_probabilities = self.logits.log_softmax(-1).gather(-1, chosen[:, None]).squeeze(-1).tolist()
        tokens = chosen.tolist()
        full = (self.lengths >= self.model.shape.context).tolist()
        choices: list[Choice] = []
        for place, sequence in enumerate(self.rows):
            if self.ended[place]:
                continue
            token, log_probability = tokens[place], log_probabilities[place]
            if token in sampling.stop:
                self.completions[sequence].stop = token
                self._end(place, "stop")
                continue
            self.completions[sequence].add(token, log_probability)
            choices.append(Choice(sequence, token, log_probability))
            if token in sampling.last or (self.until and self._spells_stop(sequence)):
                self._end(place, "stop")
            elif step + 1 == sampling.max_tokens:
                self._end(place, "length")
            elif full[place]:
                self._end(place, "context")
        return choices

    def _spells_stop(self, sequence: int) -> bool:
        """Whether the last token completed one of the texts that end a sequence. A token has at least one byte."""
        longest = max(map(len, self.until))
        tail = self.encoding.decode_bytes(self.completions[sequence].tokens[-longest:])
        return any(text in tail for text in self.until)

    def _end(self, place: int, finish: str) -> None:
        self.ended[place], self.completions[self.rows[place]].finish = True, finish

    def _answer_calls(self) -> dict[int, tuple[ToolCall, list[int]]]:
        """Make the calls that this step closed: by row, the call and the tokens of its output.

        Ends sequences without room for an output, and those that call again after a refusal.
        """
        assert self.tools is not None
        lengths = self.lengths.tolist()
        room = [room_for_output(self.model.shape.context, length) for length in lengths]
        pending: dict[int, PendingCall] = {}
        for place, sequence in enumerate(self.rows):
            completion = self.completions[sequence]
            call = None if self.ended[place] else self.calls.closed_call(completion)
            if call is None:
                continue
            answer = pending_call(call, completion, room[place], self.tools)
            if isinstance(answer, str):
                self._end(place, answer)
            else:
                pending[place] = answer
        outputs: dict[int, tuple[ToolCall, list[int]]] = {}
        answers = self.tools.answer_all(list(pending.values())) if pending else []
        for place, call in zip(pending, answers, strict=True):
            completion = self.completions[self.rows[place]]
            tokens = tool_turn(self.encoding, call.result, min(self.tools.result_tokens, room[place]))
            completion.calls.append(call)
            for token in tokens:
                completion.add(token, from_tool=True)
            outputs[place] = call, tokens
        return outputs

    def _feed_outputs(self, chosen: Tensor, outputs: Mapping[int, Sequence[int]]) -> Tensor:
        """Read tool outputs into the cache, all but their last token. Returns `chosen` with that token in its place.

        outputs: tokens of the tool output, by row.
        """
        device = self.lengths.device
        places = torch.tensor(list(outputs), device=device)
        inputs = [[int(chosen[place]), *tokens[:-1]] for place, tokens in outputs.items()]
        longest = max(map(len, inputs))
        tokens = torch.zeros(len(inputs), longest, dtype=torch.long)
        for row, ids in enumerate(inputs):
            tokens[row, : len(ids)] = torch.as_tensor(ids)
        # Padding is at positions after the real tokens, which are written again before they are read; at the end of the
        # context it stays at the last position.
        positions = self.lengths[places][:, None] + torch.arange(longest, device=device)
        positions = positions.clamp(max=self.model.shape.context - 1)
        part: KeyValueCache = self.cache.subset(places)
        part.reserve(int(positions.max()) + 1)
        self.model.model.hidden_states(tokens.to(device), positions, part)
        self.cache.write_back(places, part)
        chosen, self.lengths = chosen.clone(), self.lengths.clone()
        for place, ids in outputs.items():
            chosen[place] = ids[-1]
        self.lengths[places] += torch.tensor([len(ids) for ids in inputs], device=device)
        return chosen

    def _drop_ended(self, chosen: Tensor) -> Tensor:
        """Remove the rows of finished sequences from the batch, the cache and `chosen`."""
        places = [place for place, ended in enumerate(self.ended) if not ended]
        remaining = torch.tensor(places, device=self.lengths.device)
        self.cache.select(remaining)
        self.lengths = self.lengths[remaining]
        self.rows = [self.rows[place] for place in places]
        self.ended = [False] * len(self.rows)
        return chosen[remaining]

    def _advance(self, chosen: Tensor) -> None:
        """Read the chosen tokens and compute the next logits."""
        # A finished row that is still in the batch writes at the last position, which no other row reads.
        positions = self.lengths.clamp(max=self.model.shape.context - 1)[:, None]
        self.cache.reserve(int(positions.max()) + 1)
        next_logits = self.model.next_logits if self.graph is None else self.graph.logits
        self.logits = next_logits(chosen, positions, self.cache)
        self.lengths = self.lengths + 1
