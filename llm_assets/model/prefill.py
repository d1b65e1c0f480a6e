"""Prompts read into a cache of keys and values; tokens that several prompts begin with are read once.

Prompts are padded on the right. A token's position is its index in the sequence, so padding is at positions after every
real token, and its keys and values are overwritten before a query may see them. The outcome is that of each prompt
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import KeyValueCache
from .devices import half_precision
from .shape import ModelError
from .transformer import Transformer

if TYPE_CHECKING:
    from .cpu_decoding import CpuDecoding  # numba takes a second to import

PREFIX_TRIALS = 32  # lengths of a shared prefix that are tried, at most


def shared_prefix_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens of each prompt to read in a separate pass, once for all prompts with the same beginning.

    The length at which the fewest tokens are read in total; 0 if that saves less than a fifth.
    """
    shortest, longest = min(map(len, prompts)), max(map(len, prompts))

    def tokens_read(length: int) -> int:
        return len({tuple(prompt[:length]) for prompt in prompts}) * length + len(prompts) * (longest - length)

    best = min(range(0, shortest, max(8, shortest // PREFIX_TRIALS)), key=tokens_read)
    return best if tokens_read(best) < 0.8 * tokens_read(0) else 0


class CachedModel:
    """A model that reads tokens into a cache, in bf16 or in the type of its weights (`devices.half_precision`).

    is_final: its weights do not change any more, and may be laid out for faster reading (`cpu_decoding`).
    """

    def __init__(self, model: Transformer, is_final: bool = False):
        self.model, self.shape = model.eval(), model.shape
        self._final: CpuDecoding | None = None
        if is_final:
            from .cpu_decoding import CpuDecoding

            self._final = CpuDecoding(model) if CpuDecoding.serves(model) else None

    @property
    def dtype(self) -> torch.dtype:
        """The type of keys and values: that of the device where the model is now, which may have moved."""
        return torch.bfloat16 if half_precision(self.model.device.type) else torch.float32

    def hidden_states(self, tokens: Tensor, positions: Tensor, cache: KeyValueCache) -> Tensor:
        """Read tokens (B, T) into the cache at positions (B, T), for which it has room; the last layer's states."""
        return (self._final or self.model).hidden_states(tokens, positions, cache)

    def logits(self, hidden: Tensor, padded: bool = False) -> Tensor:
        """(…, vocabulary) fp32. padded: with the padding of the embedding, (…, rows)."""
        logits = F.linear(hidden, self.model.head.to(hidden.dtype)).float()
        return logits if padded else logits[..., : self.shape.vocabulary]

    def next_logits(self, chosen: Tensor, positions: Tensor, cache: KeyValueCache) -> Tensor:
        """Read one token of each sequence into the cache; the logits after it, (B, vocabulary).

        chosen: (B,). positions: (B, 1); the cache has room for them.
        """
        return self.logits(self.hidden_states(chosen[:, None], positions, cache)[:, 0])

    def check(self, prompts: Sequence[Sequence[int]]) -> None:
        """Raise ModelError for a prompt that is empty, longer than the context, or has an id outside the vocabulary."""
        for number, prompt in enumerate(prompts):
            if not prompt:
                raise ModelError(f"prompt {number} is empty; begin it with BOS")
            if len(prompt) > self.shape.context:
                raise ModelError(
                    f"prompt {number} has {len(prompt)} tokens, but the context holds only {self.shape.context}"
                )
            if max(prompt) >= self.shape.vocabulary or min(prompt) < 0:
                raise ModelError(
                    f"prompt {number} has the id {max(prompt)}; the vocabulary has {self.shape.vocabulary}"
                )

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[KeyValueCache, Tensor, Tensor]:
        """The cache of all prompts, their lengths (B,), and the logits after each, (B, vocabulary).

        Raises ModelError.
        """
        self.check(prompts)
        device = self.model.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        longest, shared = int(lengths.max()), shared_prefix_length(prompts)
        if shared:  # for example few-shot examples before each question
            cache = self._read_prefixes(prompts, shared)
        else:
            cache = KeyValueCache(self.shape, len(prompts), device, self.dtype)
        tokens = torch.zeros(len(prompts), longest - shared, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt) - shared] = torch.as_tensor(prompt[shared:])
        cache.reserve(longest)
        positions = torch.arange(shared, longest, device=device).expand(len(prompts), -1)
        hidden = self.hidden_states(tokens.to(device), positions, cache)
        last = hidden[torch.arange(len(prompts), device=device), lengths - shared - 1]
        return cache, lengths, self.logits(last)

    def _read_prefixes(self, prompts: Sequence[Sequence[int]], length: int) -> KeyValueCache:
        """The cache of the first `length` tokens of each prompt, computed once for equal ones."""
        device = self.model.device
        of_prompt = [tuple(prompt[:length]) for prompt in prompts]
        prefixes = {prefix: place for place, prefix in enumerate(dict.fromkeys(of_prompt))}
        cache = KeyValueCache(self.shape, len(prefixes), device, self.dtype)
        cache.reserve(length)
        positions = torch.arange(length, device=device).expand(len(prefixes), -1)
        self.hidden_states(torch.tensor(list(prefixes), device=device), positions, cache)
        cache.select(torch.tensor([prefixes[prefix] for prefix in of_prompt], device=device))
        return cache
