"""Pairs of conversations, of which one was preferred, as rows to train a reward model on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm_assets.model.reward import to_rows

from .rows import TrainingError


class Pairs:
    """Rows of pairs, epoch after epoch, each in another order: a function of seed and row number.

    pairs: (preferred, other) tokens.
    together: pairs of a step; these come in order of length, so that each micro-batch has little padding.
    Raises TrainingError where there are none, and where one is longer than `context`.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        context: int,
        seed: int,
        shuffle: bool = True,
        together: int = 1,
    ):
        if not pairs:
            raise TrainingError("no pair to train on")
        longest = max(len(one) for pair in pairs for one in pair)
        if longest > context:
            raise TrainingError(f"a conversation of {longest} tokens does not fit into {context}")
        self.pairs, self.seed, self.shuffle, self.together = pairs, seed, shuffle, together
        self._lengths = [max(map(len, pair)) for pair in pairs]
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    def _pair(self, number: int) -> int:
        epoch, place = divmod(number, len(self.pairs))
        if not self.shuffle:
            return place
        if self._order[0] != epoch:
            self._order = (
                epoch,
                np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(len(self.pairs)),
            )
        return int(self._order[1][place])

    def _in_order(self, number: int) -> int:
        """The pair at a place of the whole training, where those of a step lie in order of length."""
        first = number // self.together * self.together
        of_step = sorted(
            (self._pair(first + place) for place in range(self.together)), key=lambda pair: (self._lengths[pair], pair)
        )
        return of_step[number - first]

    def rows(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Conversations (count, T) and their targets. Raises TrainingError where a pair would be cut."""
        if first % 2 or count % 2:
            raise TrainingError(
                f"rows {first} to {first + count} cut a pair; let the rows of a step and of a process be even"
            )
        return to_rows([self.pairs[self._in_order(row // 2)][row % 2] for row in range(first, first + count)])
