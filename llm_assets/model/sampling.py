"""The sampling engine: many prompts of different lengths at once, with a cache of keys and values.

Prompts are padded on the right. A sequence's position is its index, padding lies behind every real token, and what was
computed for padding is overwritten before any query may see it; so the outcome is that of each prompt alone.

Tools: where a sequence closes a call, the tool is run, its result is forced into the sequence, and sampling goes on behind it. What
tools a sequence has, and their limits, is the caller's to say (`Tools`).
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .chat import TOOLS, decode_text, encode_text
from .devices import autocast, half_precision
from .encoding import Encoding
from .shape import ModelError
from .transformer import KeyValueCache, Transformer

COMPACT_SHARE = 0.25  # of finished sequences at which the batch is rebuilt without them
ANSWER_ROOM = 16  # tokens of the context that a tool's result leaves free for what is said about it
TOOL_THREADS = 8
BEGINNINGS = 32  # lengths of a shared beginning that are tried, at most


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    temperature: 0 is greedy. top_k: of the most probable tokens; 0 is all. top_p: the fewest tokens whose probabilities
    reach it (Holtzman et al., arXiv:1904.09751). stop: ids that end a sequence and are not part of it; last: such that are. seed: each
    sequence draws from its own stream of (seed, its number), whatever else is in the batch. opening: an id that every
    sequence begins with, whatever the model would say: the beginning of a call, say.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: Collection[int] = ()
    last: Collection[int] = ()
    opening: int | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ModelError(f"temperature {self.temperature}: must be 0 or above")
        if not 0 < self.top_p <= 1:
            raise ModelError(f"top_p {self.top_p}: must lie in (0, 1]")
        if self.top_k < 0 or self.max_tokens < 0:
            raise ModelError("top_k and max_tokens must be 0 or above")


@dataclass(frozen=True)
class Tools:
    """Tools by name (as in the tokens ``<|name_start|>``), each a function from the call's text to a result.

    A tool bounds its own time. calls: how many a sequence may make; the next is answered by an error, and one more ends it.
    result_tokens: what is longer is cut.
    """

    tools: Mapping[str, Callable[[str], str]]
    calls: int = 3
    result_tokens: int = 512

    def run(self, name: str, text: str) -> str:
        """The tool's result; what goes wrong is told in its place, for the model to read."""
        if name not in self.tools:
            return f"Error: there is no tool {name}."
        try:
            return self.tools[name](text)
        except Exception as error:  # the model's doing or the tool's: neither may end the batch
            return f"Error: {type(error).__name__}: {error}"


@dataclass(frozen=True)
class ToolCall:
    """A call that was made: the tool, what it was given, what it gave back, and in how many seconds."""

    tool: str
    text: str
    result: str
    seconds: float


@dataclass
class Completion:
    """What followed one prompt. `log_probabilities` (nats) are the model's own, at temperature 1; `finish` is stop, length, context
    or calls. `forced` marks tokens that tools put there (their log-probability stands as 0).
    """

    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    finish: str = ""
    forced: list[bool] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    def add(self, token: int, log_probability: float = 0.0, forced: bool = False) -> None:
        self.tokens.append(token)
        self.log_probabilities.append(log_probability)
        self.forced.append(forced)


@dataclass(frozen=True)
class Choice:
    """One token as it comes: of which sequence, and how probable. `call` is the call whose result the token (forced) is part of."""

    sequence: int
    token: int
    log_probability: float
    call: ToolCall | None = None


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits (B, V) at the temperature, with what top-k and top-p leave out at -inf."""
    logits = logits / sampling.temperature
    if sampling.top_k and sampling.top_k < logits.shape[-1]:
        best = logits.topk(sampling.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(-1)
        # A token stays while those before it have not reached top_p: the first always does.
        beyond = probabilities.cumsum(-1) - probabilities >= sampling.top_p
        logits = logits.scatter(-1, order, ordered.masked_fill(beyond, -torch.inf))
    return logits


def choose(logits: Tensor, sampling: Sampling, draws: Tensor) -> Tensor:
    """One token a row, (B,), from logits (B, V) and uniform draws (B,): the inverse of the cumulated probabilities."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    cumulated = filtered(logits, sampling).softmax(-1).double().cumsum(-1)
    return (
        torch.searchsorted(cumulated, (draws.to(cumulated.device) * cumulated[:, -1])[:, None], right=True)
        .squeeze(-1)
        .clamp(max=logits.shape[-1] - 1)
    )


def _read_once(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens of each prompt to read in a pass of their own, once for all prompts that begin with the same: as many as
    make the fewest tokens together; 0 where that saves less than a fifth.
    """
    shortest, longest = min(map(len, prompts)), max(map(len, prompts))

    def read(first: int) -> int:
        return len({tuple(prompt[:first]) for prompt in prompts}) * first + len(prompts) * (longest - first)

    best = min(range(0, shortest, max(8, shortest // BEGINNINGS)), key=read)
    return best if read(best) < 0.8 * read(0) else 0


class Engine:
    """A model ready to sample, in bf16 or in the weights' own type (`devices.half_precision`)."""

    def __init__(self, model: Transformer, encoding: Encoding):
        self.model, self.encoding, self.shape = model.eval(), encoding, model.shape
        self.dtype = torch.bfloat16 if half_precision(model.device.type) else torch.float32
        self._ends = {encoding.special[f"<|{name}_end|>"]: name for name in TOOLS}

    def _logits(self, hidden: Tensor) -> Tensor:
        """(B, vocabulary) in fp32; the padding of the embedding's rows is left out."""
        return F.linear(hidden, self.model.head.to(hidden.dtype)).float()[:, : self.shape.vocabulary]

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[KeyValueCache, Tensor, Tensor]:
        device = self.model.device
        for number, prompt in enumerate(prompts):
            if not prompt:
                raise ModelError(f"prompt {number} is empty; begin it with BOS")
            if len(prompt) > self.shape.context:
                raise ModelError(
                    f"prompt {number} has {len(prompt)} tokens, the model's context is {self.shape.context}"
                )
            if max(prompt) >= self.shape.vocabulary or min(prompt) < 0:
                raise ModelError(
                    f"prompt {number} has the id {max(prompt)}; the vocabulary has {self.shape.vocabulary}"
                )
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        longest, once = int(lengths.max()), _read_once(prompts)
        beginnings = (
            {
                beginning: place
                for place, beginning in enumerate(dict.fromkeys(tuple(prompt[:once]) for prompt in prompts))
            }
            if once
            else {}
        )
        cache = KeyValueCache(self.shape, len(beginnings) or len(prompts), device, self.dtype)
        if once:  # examples before a question, say
            cache.reserve(once)
            self.model.hidden_states(
                torch.tensor(list(beginnings), device=device),
                torch.arange(once, device=device).expand(len(beginnings), -1),
                cache,
            )
            cache.select(torch.tensor([beginnings[tuple(prompt[:once])] for prompt in prompts], device=device))
        tokens = torch.zeros(len(prompts), longest - once, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt) - once] = torch.as_tensor(prompt[once:])
        cache.reserve(longest)
        hidden = self.model.hidden_states(
            tokens.to(device), torch.arange(once, longest, device=device).expand(len(prompts), -1), cache
        )
        return cache, lengths, self._logits(hidden[torch.arange(len(prompts), device=device), lengths - once - 1])

    def _called(self, completion: Completion) -> tuple[str, str] | None:
        """The tool and text of the call that the last token closed; None where it closed none."""
        name = self._ends.get(completion.tokens[-1])
        if name is None:
            return None
        start = self.encoding.special[f"<|{name}_start|>"]
        for place in range(len(completion.tokens) - 2, -1, -1):
            token = completion.tokens[place]
            if completion.forced[place]:
                return None
            if token == start:
                return name, decode_text(self.encoding, completion.tokens[place + 1 : -1])
            if token >= len(self.encoding.ranks):  # another special token: the call is malformed
                return None
        return None

    def _results(self, tools: Tools, called: Sequence[tuple[str, str, bool]]) -> list[ToolCall]:
        """Calls made, side by side; those that are not allowed are answered by an error."""

        def run(one: tuple[str, str, bool]) -> ToolCall:
            name, text, allowed = one
            began = time.perf_counter()
            result = tools.run(name, text) if allowed else f"Error: no more than {tools.calls} calls."
            return ToolCall(name, text, result, round(time.perf_counter() - began, 4))

        if len(called) == 1:
            return [run(called[0])]
        with ThreadPoolExecutor(TOOL_THREADS) as threads:
            return list(threads.map(run, called))

    def result_tokens(self, result: str, most: int) -> list[int]:
        """A tool's turn: its result, at most so many tokens of it."""
        special = self.encoding.special
        return [
            special["<|tool_start|>"],
            special["<|result_start|>"],
            *encode_text(self.encoding, result)[:most],
            special["<|result_end|>"],
            special["<|tool_end|>"],
        ]

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        samples: int = 1,
        first: int = 0,
        tools: Tools | None = None,
    ) -> Iterator[list[Choice] | list[Completion]]:
        """Lists of the tokens chosen at each step, and at last the list of completions. `max_tokens` does not count what tools say.

        Sequences are numbered prompt by prompt: sample j of prompt i is i x samples + j; `first` is the number from which
        their random streams are counted. Raises ModelError for a prompt
        that is empty, or longer than the context.
        """
        with torch.inference_mode(), autocast(self.model.device.type):
            cache, lengths, logits = self._prefill(prompts)
            if samples > 1:
                copies = torch.arange(len(prompts), device=self.model.device).repeat_interleave(samples)
                cache.select(copies)
                lengths, logits = lengths[copies], logits[copies]
            total = len(prompts) * samples
            out = [Completion() for _ in range(total)]
            if sampling.temperature > 0 and sampling.max_tokens:
                # torch's CPU generator takes 32 bits of a seed; Philox takes both numbers.
                streams = [
                    np.random.Generator(np.random.Philox(key=[sampling.seed, first + number]))
                    for number in range(total)
                ]
                draws = torch.from_numpy(np.stack([one.random(sampling.max_tokens) for one in streams]))
            else:
                draws = torch.zeros(total, max(sampling.max_tokens, 1), dtype=torch.float64)
            rows = list(range(total))  # the sequence that each row of the batch holds
            ended = [False] * total
            for step in range(sampling.max_tokens):
                chosen = choose(logits, sampling, draws[rows, step])
                if step == 0 and sampling.opening is not None:
                    chosen = torch.full_like(chosen, sampling.opening)
                log_probabilities = logits.log_softmax(-1).gather(-1, chosen[:, None]).squeeze(-1).tolist()
                tokens = chosen.tolist()
                full = (lengths >= self.shape.context).tolist()
                told: list[Choice] = []
                for place, sequence in enumerate(rows):
                    if ended[place]:
                        continue
                    completion = out[sequence]
                    if tokens[place] in sampling.stop:
                        ended[place], completion.finish = True, "stop"
                        continue
                    completion.add(tokens[place], log_probabilities[place])
                    told.append(Choice(sequence, tokens[place], log_probabilities[place]))
                    if tokens[place] in sampling.last:
                        ended[place], completion.finish = True, "stop"
                    elif step + 1 == sampling.max_tokens:
                        ended[place], completion.finish = True, "length"
                    elif full[place]:
                        ended[place], completion.finish = True, "context"
                results = self._answer(tools, rows, ended, out, lengths.tolist()) if tools else {}
                told += [
                    Choice(rows[place], token, 0.0, call)
                    for place, (call, forced) in results.items()
                    for token in forced
                ]
                if told:
                    yield told
                if all(ended):
                    break
                if results:
                    chosen = chosen.clone()
                    lengths = self._force(
                        cache, lengths, chosen, {place: forced for place, (_, forced) in results.items()}
                    )
                if sum(ended) >= COMPACT_SHARE * len(rows):
                    keep = torch.tensor(
                        [place for place, done in enumerate(ended) if not done], device=self.model.device
                    )
                    cache.select(keep)
                    lengths, chosen = lengths[keep], chosen[keep]
                    rows = [sequence for sequence, done in zip(rows, ended, strict=True) if not done]
                    ended = [False] * len(rows)
                # A row that has ended and still waits for the rebuild writes at the last position, where nobody looks.
                positions = lengths.clamp(max=self.shape.context - 1)[:, None]
                cache.reserve(int(positions.max()) + 1)
                logits = self._logits(self.model.hidden_states(chosen[:, None], positions, cache)[:, 0])
                lengths = lengths + 1
            yield out

    def _answer(
        self, tools: Tools, rows: Sequence[int], ended: list[bool], out: Sequence[Completion], lengths: Sequence[int]
    ) -> dict[int, tuple[ToolCall, list[int]]]:
        """By place in the batch, calls that this step closed, run, and the tokens that they force. Ends sequences that have no room or call on and on."""
        waiting: dict[int, tuple[str, str, bool]] = {}
        for place, sequence in enumerate(rows):
            completion = out[sequence]
            called = None if ended[place] else self._called(completion)
            if called is None:
                continue
            room = self.shape.context - lengths[place] - 5 - ANSWER_ROOM  # the call's end and the turn's four tokens
            if room < 1:
                ended[place], completion.finish = True, "context"
            elif len(completion.calls) > tools.calls:
                ended[place], completion.finish = True, "calls"
            else:
                waiting[place] = (*called, len(completion.calls) < tools.calls)
        if not waiting:
            return {}
        answered: dict[int, tuple[ToolCall, list[int]]] = {}
        for place, call in zip(waiting, self._results(tools, list(waiting.values())), strict=True):
            completion = out[rows[place]]
            forced = self.result_tokens(
                call.result, min(tools.result_tokens, self.shape.context - lengths[place] - 5 - ANSWER_ROOM)
            )
            completion.calls.append(call)
            for token in forced:
                completion.add(token, forced=True)
            answered[place] = call, forced
        return answered

    def _force(
        self, cache: KeyValueCache, lengths: Tensor, chosen: Tensor, forced: Mapping[int, Sequence[int]]
    ) -> Tensor:
        """Take a call's end and all but the last forced token into the cache of those sequences; the last stands in `chosen` then.

        lengths: (B,) of each sequence, changed ones in the result.
        """
        places = torch.tensor(list(forced), device=lengths.device)
        fed = [[int(chosen[place]), *tokens[:-1]] for place, tokens in forced.items()]
        longest = max(map(len, fed))
        tokens = torch.zeros(len(fed), longest, dtype=torch.long)
        for row, one in enumerate(fed):
            tokens[row, : len(one)] = torch.as_tensor(one)
        # Padding lies behind the real tokens, at positions that are written again before they are read; at the context's end it stays there.
        positions = (lengths[places][:, None] + torch.arange(longest, device=lengths.device)).clamp(
            max=self.shape.context - 1
        )
        part = cache.part(places)
        part.reserve(int(positions.max()) + 1)
        self.model.hidden_states(tokens.to(lengths.device), positions, part)
        cache.put(places, part)
        for place, ids in forced.items():
            chosen[place] = ids[-1]
        lengths = lengths.clone()
        lengths[places] += torch.tensor([len(one) for one in fed], device=lengths.device)
        return lengths

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        samples: int = 1,
        batch: int = 64,
        tools: Tools | None = None,
    ) -> list[Completion]:
        """Completions of all prompts, `batch` sequences at a time."""
        out: list[Completion] = []
        at_once = max(1, batch // samples)
        for first in range(0, len(prompts), at_once):
            *_, completions = self.stream(prompts[first : first + at_once], sampling, samples, first * samples, tools)
            out += completions  # type: ignore[arg-type]
        return out

    def lines(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        samples: int = 1,
        batch: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """What follows each prompt up to the end of its line, without white space around it, numbered as `complete` does: how a
        base model answers, which would go on with a question of its own.
        """
        sampling = Sampling(
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            stop=(self.encoding.bos,),
            last=self.encoding.line_ends,
        )
        return [
            self.encoding.decode(one.tokens).split("\n")[0].strip()
            for one in self.complete(prompts, sampling, samples, batch)
        ]

    def text(self, prompt: str, sampling: Sampling) -> Iterator[str]:
        """A document's continuation, piece by piece, each whole characters."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for step in self.stream([self.encoding.document(prompt)], sampling):
            for choice in step:
                if isinstance(choice, Choice):
                    yield decoder.decode(self.encoding.bpe.decode_single_token_bytes(choice.token))
        yield decoder.decode(b"", final=True)

    def next_tokens(self, prompt: Sequence[int], count: int = 10) -> list[tuple[int, float]]:
        """The most probable next ids with their probabilities."""
        with torch.inference_mode(), autocast(self.model.device.type):
            _, _, logits = self._prefill([prompt])
        top = logits[0].softmax(-1).topk(min(count, self.shape.vocabulary))
        return list(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def log_likelihoods(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], batch: int = 64
    ) -> list[float]:
        """Log-probability (nats) of each continuation after its prompt."""
        out: list[float] = []
        with torch.inference_mode(), autocast(self.model.device.type):
            for first in range(0, len(prompts), batch):
                pairs = list(zip(prompts[first : first + batch], continuations[first : first + batch], strict=True))
                longest = max(len(prompt) + len(continuation) for prompt, continuation in pairs)
                if longest > self.shape.context:
                    raise ModelError(
                        f"a prompt with its continuation has {longest} tokens, the model's context is {self.shape.context}"
                    )
                tokens = torch.zeros(len(pairs), longest, dtype=torch.long)
                for row, (prompt, continuation) in enumerate(pairs):
                    tokens[row, : len(prompt) + len(continuation)] = torch.as_tensor([*prompt, *continuation])
                tokens = tokens.to(self.model.device)
                logits = F.linear(self.model.hidden_states(tokens[:, :-1]), self.model.head.to(self.dtype)).float()[
                    ..., : self.shape.vocabulary
                ]
                scores = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
                out += [
                    float(scores[row, len(prompt) - 1 : len(prompt) + len(continuation) - 1].sum())
                    for row, (prompt, continuation) in enumerate(pairs)
                ]
        return out
