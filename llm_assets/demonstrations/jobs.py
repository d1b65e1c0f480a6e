"""Jobs of the demonstrations' processes: plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SmallTraining:
    """The fields of `recipes.demonstrations.SmallTraining`."""

    layers: int
    width: int
    heads: int
    steps: int
    batch_size: int
    learning_rate: float
    induction: bool


@dataclass(frozen=True)
class TokensToThinkJob:
    """The fields of `recipes.demonstrations.TokensToThink`."""

    seeds: int
    device: str
    hops: int
    letters: int
    questions: int
    training: SmallTraining
