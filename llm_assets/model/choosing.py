"""How the next token is chosen from logits: temperature, top-k, top-p, and a stream of random numbers per sequence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .shape import ModelError


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    temperature: 0 is greedy. top_k: sample from the most probable tokens; 0 takes all. top_p: sample from the fewest
    tokens whose probabilities reach it (Holtzman et al., arXiv:1904.09751). stop: ids that end a sequence and are not
    part of it. last: ids that end a sequence and are part of it. until: texts that end a sequence in whichever tokens
    they are spelled, and are part of it. seed: each sequence draws from its own random stream of (seed, sequence
    number), whatever else is in the batch. opening: id that every sequence starts with instead of a sampled one, such
    as the start of a tool call. alternatives: how many of the most probable tokens are reported with each choice.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: Collection[int] = ()
    last: Collection[int] = ()
    opening: int | None = None
    until: tuple[str, ...] = ()
    alternatives: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ModelError(f"temperature {self.temperature}: must be 0 or above")
        if not 0 < self.top_p <= 1:
            raise ModelError(f"top_p {self.top_p}: must be above 0 and at most 1")
        if self.top_k < 0 or self.max_tokens < 0:
            raise ModelError("top_k and max_tokens must be 0 or above")


def uniform_draws(sampling: Sampling, first: int, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Uniform random numbers for sequences [first, first + count), (count, max_tokens) float64; zeros if none are
    needed.
    """
    if sampling.temperature == 0 or not sampling.max_tokens:
        return np.zeros((count, max(sampling.max_tokens, 1)))
    # torch's CPU generator takes 32 bits of a seed; Philox takes both numbers.
    keys = [[sampling.seed, first + number] for number in range(count)]
    streams = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
    return np.stack([stream.random(sampling.max_tokens) for stream in streams])


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits (B, V) divided by the temperature; -inf where top-k or top-p excludes the token."""
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k and sampling.top_k < logits.shape[-1]:
        best = logits.topk(sampling.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(-1)
        # A token stays if those before it have not reached top_p, so the first always does.
        excluded = probabilities.cumsum(-1) - probabilities >= sampling.top_p
        logits = logits.scatter(-1, order, ordered.masked_fill(excluded, -torch.inf))
    return logits


def choose(logits: Tensor, sampling: Sampling, draws: Tensor) -> Tensor:
    """One token per row, (B,), from logits (B, V) and uniform draws (B,), by the inverse of the cumulative
    distribution.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    cumulative = filtered(logits, sampling).softmax(-1).double().cumsum(-1)
    thresholds = (draws.to(cumulative.device) * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)
