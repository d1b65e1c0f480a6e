"""Token batches: what training reads, as a function of the sequence number."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llm_assets.model.shape import ModelError


class TrainingError(ModelError):
    """Training that cannot start or continue; the message says what to change."""


class SequenceSource(Protocol):
    """An endless stream of numbered training sequences of T tokens.

    batch(first, count): sequences [first, first + count) as inputs and targets, both (count, T) int64. A target is
    IGNORE where no loss is computed. Further arrays, (count, …), are passed to the loss. A source whose sequences do
    not fill the context has their mean number of tokens as `mean_tokens`, by which speed is reported.
    """

    def batch(self, first: int, count: int) -> tuple[np.ndarray, ...]: ...
