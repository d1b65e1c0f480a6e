"""Pairs of conversations of which one was preferred: the reward model's training sequences and loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from llm_assets.model import IGNORE
from llm_assets.model.reward import pad_conversations, pair_losses

from .sequences import TrainingError


def pair_target_losses(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    """The loss of each pair, at the target of both its conversations, (B, T), 0 elsewhere; a `losses.TargetLosses`.

    tokens, targets: (B, T); rows 2i and 2i + 1 are a pair, the preferred conversation first. Each row has one target,
    at its last token, where `model` (a RewardModel) reads the score.
    """
    is_last = targets != IGNORE
    losses = pair_losses(model(tokens, is_last.int().argmax(-1)))
    return is_last * losses.repeat_interleave(2)[:, None]


class Pairs:
    """Conversations in pairs, epoch after epoch in another order; a SequenceSource that depends on seed and number
    alone.

    Sequences 2i and 2i + 1 are a pair, the preferred one first. pairs: (preferred, other), as tokens. pairs_per_step:
    pairs of a step are sorted by length, so that each micro-batch has little padding. Raises TrainingError if there is
    no pair, or if a conversation is longer than `context`.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        context: int,
        seed: int,
        shuffle: bool = True,
        pairs_per_step: int = 1,
    ):
        if not pairs:
            raise TrainingError("no pair to train on")
        longest = max(len(conversation) for pair in pairs for conversation in pair)
        if longest > context:
            raise TrainingError(f"a conversation of {longest} tokens does not fit into a context of {context}")
        self.pairs, self.seed, self.shuffle, self.pairs_per_step = pairs, seed, shuffle, pairs_per_step
        self._lengths = [max(map(len, pair)) for pair in pairs]
        self.mean_tokens = sum(len(conversation) for pair in pairs for conversation in pair) / (2 * len(pairs))
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    def _shuffled(self, number: int) -> int:
        """The pair at place `number` of the whole training, before sorting by length."""
        epoch, place = divmod(number, len(self.pairs))
        if not self.shuffle:
            return place
        if self._order[0] != epoch:
            random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
            self._order = (epoch, random.permutation(len(self.pairs)))
        return int(self._order[1][place])

    def _pair(self, number: int) -> int:
        """The pair at place `number` of the whole training, with the pairs of each step sorted by length."""
        first = number // self.pairs_per_step * self.pairs_per_step
        pairs_of_step = [self._shuffled(first + place) for place in range(self.pairs_per_step)]
        pairs_of_step.sort(key=lambda pair: (self._lengths[pair], pair))
        return pairs_of_step[number - first]

    def batch(self, first: int, count: int) -> tuple[np.ndarray, ...]:
        """Conversations and their targets, both (count, T). Raises TrainingError if a pair would be split."""
        if first % 2 or count % 2:
            raise TrainingError(
                f"sequences {first} to {first + count} split a pair; the batch size and each process's share of it "
                "must be even"
            )
        numbers = range(first, first + count)
        return pad_conversations([self.pairs[self._pair(number // 2)][number % 2] for number in numbers])
