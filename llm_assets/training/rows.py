"""What a training is given: rows of tokens, a function of their number."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llm_assets.model.shape import ModelError


class TrainingError(ModelError):
    """A training that cannot begin or go on; the message says what to change."""


class Rows(Protocol):
    """What is trained on.

    rows(first, count): rows [first, first + count), inputs and targets, both (count, T) int64; targets are IGNORE where
    no loss is computed.
    """

    def rows(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]: ...
