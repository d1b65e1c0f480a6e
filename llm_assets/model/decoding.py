"""Decoding: sequences that are sampled together, one token per step, with tool calls answered in place.

When a sequence closes a tool call, the tool runs, its output is put into the sequence, and sampling continues after it.
The other sequences of the batch go on undisturbed. Sequences may join and leave between steps, each with settings of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .cache import KeyValueCache
from .chat import TOOLS, decode_text, encode_text
from .choosing import Sampling, choose
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

    call: for tool output, the call whose result the token belongs to. alternatives: the most probable tokens at this
    place with their log-probabilities, as many as `Sampling.alternatives`. entropy: of the distribution that the token
    was sampled from before temperature, top-k and top-p, in bits; None without alternatives.
    """

    sequence: int
    token: int
    log_probability: float
    call: ToolCall | None = None
    alternatives: tuple[tuple[int, float], ...] = ()
    entropy: float | None = None


@dataclass
class Row:
    """A sequence in the batch.

    sequence: its number. draws: uniform random numbers, one per sampled token (`choosing.uniform_draws`). step: tokens
    sampled so far. ended: whether it is finished; it is dropped from the batch later.
    """

    sequence: int
    sampling: Sampling
    draws: np.ndarray[Any, np.dtype[np.float64]]
    completion: Completion = field(default_factory=Completion)
    step: int = 0
    ended: bool = False

    def end(self, finish: str) -> None:
        """Sample no more of this sequence. finish: see `Completion`."""
        self.ended, self.completion.finish = True, finish

    @property
    def draw(self) -> float:
        """The random number with which the next token is chosen."""
        return 0.0 if self.ended else float(self.draws[self.step])


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
    """Tokens of a tool's result that fit after `length` tokens, if the answer is to have room as well."""
    return context - length - TURN_TOKENS - ANSWER_ROOM


def call_or_end(completion: Completion, call: tuple[str, str], tools: Tools, room: int) -> PendingCall | str:
    """The call to make, or why the sequence ends instead (`Completion.finish`).

    call: tool and text. room: see `room_for_output`. A sequence ends without room for an output, or if it calls again
    after a refusal.
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
        name = self._ends.get(completion.tokens[-1]) if completion.tokens else None
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


def most_probable(scores: Tensor, count: int) -> list[list[tuple[int, float]]]:
    """The most probable tokens of each row with their log-probabilities; nothing if `count` is 0. scores: (B, V)."""
    if not count:
        return []
    top = scores.topk(min(count, scores.shape[-1]), dim=-1)
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [list(zip(tokens, values, strict=True)) for tokens, values in pairs]


def entropies(scores: Tensor) -> list[float]:
    """The entropy of each row's distribution in bits. scores: logits or log-probabilities, (B, V)."""
    scores = scores.log_softmax(-1)
    return (-(scores.exp() * scores).sum(-1) / math.log(2)).tolist()


class Decoder:
    """A batch that is being sampled.

    rows: the sequences in the batch; finished ones are dropped from it now and then. lengths: (rows,) tokens in the
    cache. logits: (rows, vocabulary) after these tokens.
    """

    def __init__(self, model: CachedModel, encoding: Encoding, tools: Tools | None = None):
        self.model, self.encoding, self.tools = model, encoding, tools
        self.calls = CallReader(encoding)
        device = model.model.device
        self.cache = KeyValueCache(model.shape, 0, device, model.dtype)
        self.lengths = torch.zeros(0, dtype=torch.long, device=device)
        self.logits = torch.zeros(0, model.shape.vocabulary, device=device)
        self.rows: list[Row] = []
        self.graph = DecodingGraph(model) if self.lengths.is_cuda else None
        self._chosen: Tensor | None = None  # tokens that are not in the cache yet
        self._outputs: dict[int, list[int]] = {}  # of tools, by row, that are not in the cache yet

    def add(self, prompts: Sequence[Sequence[int]], rows: Sequence[Row]) -> None:
        """Let sequences join the batch. rows: as many for each prompt, prompt by prompt. Raises ModelError.

        If a prompt cannot be read, the batch is as before, with the last step's tokens read.
        """
        self.read_chosen()
        cache, lengths, logits = self.model.prefill(prompts)
        samples = len(rows) // len(prompts)
        if samples > 1:
            copies = torch.arange(len(prompts), device=lengths.device).repeat_interleave(samples)
            cache.select(copies)
            lengths, logits = lengths[copies], logits[copies]
        for row in rows:
            if not row.sampling.max_tokens:
                row.end("length")
        if self.rows:
            lengths, logits = torch.cat([self.lengths, lengths]), torch.cat([self.logits, logits])
            self.cache.append(cache)
        else:
            self.cache = cache
        self.lengths, self.logits = lengths, logits
        self.rows += rows

    @property
    def is_done(self) -> bool:
        """Whether all sequences have ended."""
        return all(row.ended for row in self.rows)

    def run(self) -> Iterator[list[Choice]]:
        """Sample until all sequences have ended; the tokens of each step."""
        while not self.is_done:
            choices = self.step()
            if choices:
                yield choices

    def step(self) -> list[Choice]:
        """Sample a token of each sequence that has not ended."""
        self.read_chosen()
        if not self.rows:
            return []
        self._chosen = self._choose()
        choices = self._append(self._chosen)
        outputs = self._answer_calls() if self.tools else {}
        for place, (call, tokens) in outputs.items():
            choices += [Choice(self.rows[place].sequence, token, 0.0, call) for token in tokens]
        self._outputs = {place: tokens for place, (_, tokens) in outputs.items()}
        return choices

    def read_chosen(self) -> None:
        """Read the tokens of the last step into the cache, without the sequences that have ended.

        After an error the batch is not usable: these tokens are missing.
        """
        chosen, outputs = self._chosen, self._outputs
        self._chosen, self._outputs = None, {}
        if chosen is None:
            return
        if outputs and not self.is_done:
            chosen = self._feed_outputs(chosen, outputs)
        if sum(row.ended for row in self.rows) >= COMPACT_SHARE * len(self.rows):
            chosen = self._drop_ended(chosen)
        if self.rows:
            self._advance(chosen)

    def _choose(self) -> Tensor:
        """The next token of each row, (rows,)."""
        places_of: dict[tuple[float, int, float], list[int]] = {}
        for place, row in enumerate(self.rows):
            sampling = row.sampling
            places_of.setdefault((sampling.temperature, sampling.top_k, sampling.top_p), []).append(place)
        draws = torch.from_numpy(np.array([row.draw for row in self.rows], np.float64))
        if len(places_of) == 1:
            chosen = choose(self.logits, self.rows[0].sampling, draws)
        else:
            chosen = torch.zeros(len(self.rows), dtype=torch.long, device=self.logits.device)
            for places in places_of.values():
                chosen[places] = choose(self.logits[places], self.rows[places[0]].sampling, draws[places])
        for place, row in enumerate(self.rows):
            if row.step == 0 and row.sampling.opening is not None:
                chosen[place] = row.sampling.opening
        return chosen

    def _append(self, chosen: Tensor) -> list[Choice]:
        """Append the chosen tokens to their sequences, and end those that are finished."""
        scores = self.logits.log_softmax(-1)
        log_probabilities = scores.gather(-1, chosen[:, None]).squeeze(-1).tolist()
        tokens = chosen.tolist()
        full = (self.lengths >= self.model.shape.context).tolist()
        alternatives = most_probable(scores, max(row.sampling.alternatives for row in self.rows))
        uncertainty = entropies(scores) if alternatives else []
        choices: list[Choice] = []
        for place, row in enumerate(self.rows):
            if row.ended:
                continue
            token, log_probability, sampling = tokens[place], log_probabilities[place], row.sampling
            row.step += 1
            if token in sampling.stop:
                row.completion.stop = token
                row.end("stop")
                continue
            row.completion.add(token, log_probability)
            choice = Choice(row.sequence, token, log_probability)
            if sampling.alternatives:
                shown = tuple(alternatives[place][: sampling.alternatives])
                choice = replace(choice, alternatives=shown, entropy=uncertainty[place])
            choices.append(choice)
            if token in sampling.last or (sampling.until and self._spells_stop(row)):
                row.end("stop")
            elif row.step == sampling.max_tokens:
                row.end("length")
            elif full[place]:
                row.end("context")
        return choices

    def _spells_stop(self, row: Row) -> bool:
        """Whether the last token completed one of the texts that end a sequence. A token has at least one byte."""
        until = [text.encode() for text in row.sampling.until if text]
        longest = max(map(len, until), default=0)
        tail = self.encoding.decode_bytes(row.completion.tokens[-longest:]) if longest else b""
        return any(text in tail for text in until)

    def _answer_calls(self) -> dict[int, tuple[ToolCall, list[int]]]:
        """Make the calls that this step closed: by row, the call and the tokens of its output.

        Ends the sequences that may not call (`call_or_end`).
        """
        assert self.tools is not None
        room = [room_for_output(self.model.shape.context, length) for length in self.lengths.tolist()]
        pending: dict[int, PendingCall] = {}
        for place, row in enumerate(self.rows):
            call = None if row.ended else self.calls.closed_call(row.completion)
            if call is None:
                continue
            outcome = call_or_end(row.completion, call, self.tools, room[place])
            if isinstance(outcome, str):
                row.end(outcome)
            else:
                pending[place] = outcome
        outputs: dict[int, tuple[ToolCall, list[int]]] = {}
        answers = self.tools.answer_all(list(pending.values())) if pending else []
        for place, call in zip(pending, answers, strict=True):
            completion = self.rows[place].completion
            tokens = tool_turn(self.encoding, call.result, min(self.tools.result_tokens, room[place]))
            completion.add_output(call, tokens)
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
        self.model.hidden_states(tokens.to(device), positions, part)
        self.cache.write_back(places, part)
        chosen, self.lengths = chosen.clone(), self.lengths.clone()
        for place, ids in outputs.items():
            chosen[place] = ids[-1]
        self.lengths[places] += torch.tensor([len(ids) for ids in inputs], device=device)
        return chosen

    def _drop_ended(self, chosen: Tensor) -> Tensor:
        """Remove the rows of finished sequences from the batch, the cache and `chosen`."""
        places = [place for place, row in enumerate(self.rows) if not row.ended]
        remaining = torch.tensor(places, dtype=torch.long, device=self.lengths.device)
        self.cache.select(remaining)
        self.lengths, self.logits = self.lengths[remaining], self.logits[remaining]
        self.rows = [self.rows[place] for place in places]
        return chosen[remaining]

    def _advance(self, chosen: Tensor) -> None:
        """Read the chosen tokens and compute the next logits."""
        # A finished row that is still in the batch writes at the last position, which no other row reads.
        positions = self.lengths.clamp(max=self.model.shape.context - 1)[:, None]
        self.cache.reserve(int(positions.max()) + 1)
        next_logits = self.model.next_logits if self.graph is None else self.graph.logits
        self.logits = next_logits(chosen, positions, self.cache)
        self.lengths = self.lengths + 1
