"""The sampling engine: completions of many prompts of different lengths at once, with tools."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from .choosing import Sampling, choose, filtered, uniform_draws
from .decoding import Choice, Decoder, Row, entropies, most_probable
from .devices import CPU_SEQUENCES, autocast, fitting_sequences, free_memory
from .encoding import Encoding
from .prefill import CachedModel
from .shape import ModelError
from .tool_calls import Completion, ToolCall, Tools
from .transformer import Transformer

SCORE_BYTES = 1 << 29  # of fp32 logits that are held at a time when continuations are scored


class Likelihood(NamedTuple):
    """The log-probability of a continuation, in nats, and whether greedy decoding would have chosen all its tokens."""

    log_probability: float
    is_greedy: bool


class TokenLikelihood(NamedTuple):
    """The log-probability of a token, in nats, and the most probable tokens at its place with theirs.

    entropy: of the distribution over the vocabulary at its place, in bits; None without alternatives.
    """

    log_probability: float
    alternatives: tuple[tuple[int, float], ...]
    entropy: float | None


class Engine:
    """A model that is ready to sample. is_final: see `CachedModel`."""

    def __init__(self, model: Transformer, encoding: Encoding, is_final: bool = False):
        self.cached = CachedModel(model, is_final)
        self.model, self.encoding, self.shape = model, encoding, model.shape

    @property
    def dtype(self) -> torch.dtype:
        """The type in which tokens are read."""
        return self.cached.dtype

    def fitting_batch(self, prompts: Sequence[Sequence[int]], max_tokens: int, tools: bool = False) -> int:
        """How many sequences to sample at a time: as many as fit into the GPU's free memory, or CPU_SEQUENCES.

        max_tokens: sampled after each prompt. tools: sequences may also hold the output of tools.
        """
        longest = max(map(len, prompts), default=1) + max_tokens
        if not self.on_gpu:
            return CPU_SEQUENCES
        context, memory = self.shape.context, free_memory(self.model.device)
        return fitting_sequences(self.shape, context if tools else min(longest, context), memory)

    @property
    def on_gpu(self) -> bool:
        return self.model.device.type == "cuda"

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """What a `Decoder` of this model works in: no gradients, and the device's precision."""
        with torch.inference_mode(), autocast(self.model.device.type):
            yield

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        samples: int = 1,
        first: int = 0,
        tools: Tools | None = None,
    ) -> Iterator[list[Choice] | list[Completion]]:
        """Yield the tokens chosen at each step, and at the end the completions. Tool output does not count as
        max_tokens.

        Sequences are numbered prompt by prompt: sample j of prompt i is number i x samples + j. `first` is added to the
        number to give each sequence its random stream. Raises ModelError for a prompt that is empty or too long.
        """
        with self.inference():
            decoder = Decoder(self.cached, self.encoding, tools)
            draws = uniform_draws(sampling, first, len(prompts) * samples)
            rows = [Row(number, sampling, of_row) for number, of_row in enumerate(draws)]
            decoder.add(prompts, rows)
            yield from decoder.run()
            yield [row.completion for row in rows]

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        samples: int = 1,
        batch: int = 64,
        tools: Tools | None = None,
    ) -> list[Completion]:
        """The completions of all prompts, `batch` sequences at a time; on a GPU, as many as fit into its memory."""
        out: list[Completion] = []
        if self.on_gpu:
            batch = self.fitting_batch(prompts, sampling.max_tokens, tools is not None)
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
        """What follows each prompt up to the end of the line, stripped, in the order of `complete`.

        This is how a base model answers: it would continue with a question of its own.
        """
        sampling = Sampling(
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            stop=(self.encoding.bos,),
            last=self.encoding.line_ends,
        )
        completions = self.complete(prompts, sampling, samples, batch)
        return [self.encoding.decode(completion.tokens).split("\n")[0].strip() for completion in completions]

    def text(self, prompt: str, sampling: Sampling) -> Iterator[str]:
        """The continuation of a document, in pieces of whole characters."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for step in self.stream([self.encoding.document(prompt)], sampling):
            for choice in step:
                if isinstance(choice, Choice):
                    yield decoder.decode(self.encoding.decode_bytes([choice.token]))
        yield decoder.decode(b"", final=True)

    def next_tokens(self, prompt: Sequence[int], count: int = 10) -> list[tuple[int, float]]:
        """The most probable next ids with their probabilities."""
        with self.inference():
            _, _, logits = self.cached.prefill([prompt])
        top = logits[0].softmax(-1).topk(min(count, self.shape.vocabulary))
        return list(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def log_likelihoods(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], batch: int = 64
    ) -> list[float]:
        """The log-probability, in nats, of each continuation after its prompt. Raises ModelError if they do not fit."""
        return [likelihood.log_probability for likelihood in self.likelihoods(prompts, continuations, batch)]

    def likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        continuations: Sequence[Sequence[int]],
        batch: int = 64,
        padded: bool = False,
    ) -> list[Likelihood]:
        """The likelihood of each continuation after its prompt, `batch` continuations at a time.

        Continuations of one prompt that differ in their last token only, such as the letters of a multiple choice, are
        read once if they are in the same batch. The last token is only predicted, so prompt and continuation may have
        one token more than the context. padded: the padding of the embedding has probabilities too, as in transformers.
        Raises ModelError if they do not fit.
        """
        out: list[Likelihood] = []
        with self.inference():
            for first in range(0, len(prompts), batch):
                pairs = zip(prompts[first : first + batch], continuations[first : first + batch], strict=True)
                out += self._likelihoods(list(pairs), padded)
        return out

    def token_likelihoods(self, tokens: Sequence[int], alternatives: int = 0) -> list[TokenLikelihood]:
        """The likelihood of each token after those before it, all but the first.

        alternatives: how many of the most probable tokens to name at each place. The padding of the embedding has
        probabilities too, as in transformers. Raises ModelError if all but the last do not fit into the context.
        """
        self.cached.check([tokens[:-1]])
        out: list[TokenLikelihood] = []
        with self.inference():
            inputs = torch.tensor([list(tokens[:-1])], device=self.model.device)
            hidden = self.model.hidden_states(inputs).to(self.dtype)[0]
            targets = torch.tensor(list(tokens[1:]), device=hidden.device)
            size = max(1, SCORE_BYTES // (4 * self.shape.rows))
            for chunk, chosen in zip(hidden.split(size), targets.split(size), strict=True):
                scores = self.cached.logits(chunk, padded=True).log_softmax(-1)
                values = scores.gather(-1, chosen[:, None]).squeeze(-1).tolist()
                # Ids of the padding have no text, so they are not named.
                tops = most_probable(scores[:, : self.shape.vocabulary], alternatives) or [[] for _ in values]
                bits = entropies(scores[:, : self.shape.vocabulary]) if alternatives else [None] * len(values)
                out += [
                    TokenLikelihood(value, tuple(top), entropy)
                    for value, top, entropy in zip(values, tops, bits, strict=True)
                ]
        return out

    def _likelihoods(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], padded: bool) -> list[Likelihood]:
        """`likelihoods` of one batch of (prompt, continuation)."""
        sequences: dict[tuple[int, ...], int] = {}
        rows = [sequences.setdefault((*prompt, *continuation)[:-1], len(sequences)) for prompt, continuation in pairs]
        longest = max(map(len, sequences))
        if longest > self.shape.context:
            raise ModelError(
                f"a prompt with its continuation has {longest + 1} tokens, but the context holds only "
                f"{self.shape.context}"
            )
        tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence)] = torch.as_tensor(sequence)
        hidden = self.model.hidden_states(tokens.to(self.model.device)).to(self.dtype)
        # Only the states before tokens of a continuation have logits: those of a whole batch would fill a GPU's memory.
        places = [
            (row, position)
            for row, (prompt, continuation) in zip(rows, pairs, strict=True)
            for position in range(len(prompt) - 1, len(prompt) + len(continuation) - 1)
        ]
        states = hidden[tuple(torch.tensor(places, device=hidden.device).T)]
        targets = torch.tensor([token for _, continuation in pairs for token in continuation], device=hidden.device)
        size = max(1, SCORE_BYTES // (4 * self.shape.rows))
        scores, hits = [], []
        for chunk, chosen in zip(states.split(size), targets.split(size), strict=True):
            logits = self.cached.logits(chunk, padded).log_softmax(-1)
            scores.append(logits.gather(-1, chosen[:, None]).squeeze(-1))
            hits.append(logits.argmax(-1) == chosen)
        lengths = [len(continuation) for _, continuation in pairs]
        by_pair = zip(torch.cat(scores).split(lengths), torch.cat(hits).split(lengths), strict=True)
        return [Likelihood(float(of_pair.sum()), bool(is_greedy.all())) for of_pair, is_greedy in by_pair]


__all__ = ["Choice", "Completion", "Engine", "Likelihood", "Sampling", "ToolCall", "Tools", "choose", "filtered"]
