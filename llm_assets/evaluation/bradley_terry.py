"""Ratings of models from comparisons of their answers: the Bradley-Terry model on Elo's scale.

The model (Biometrika 39, 1952) says that the first of two answers wins with probability p1 / (p1 + p2); a tie counts
as half a win of each, as in Chatbot Arena (arXiv:2403.04132). The strengths are those of the greatest likelihood, found
by Hunter's iteration (Annals of Statistics 32, 2004). Each model has one tie with an imaginary one of the mean rating,
so that a model that always won has a finite rating.

For the intervals, the share of wins of each pair of models is drawn from its posterior, a Beta distribution with
Jeffreys' prior. A bootstrap over comparisons has no width where all of a pair agree, as after a single vote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .intervals import CONFIDENCE, SEED

MEAN_RATING = 1_000.0
DRAWS = 1_000
MOST_STEPS = 1_000
TOLERANCE = 1e-8  # of the natural logarithm of a strength, where the iteration ends
OUTCOMES = ("first", "second", "tie")
_FIRST_SCORE = {"first": 1.0, "second": 0.0, "tie": 0.5}

Battle = tuple[str, str, str]  # first model, second model, outcome


@dataclass(frozen=True)
class Rating:
    """A model's place. low, high: ends of the 95 % interval."""

    model: str
    rating: float
    low: float
    high: float
    battles: int
    wins: int
    losses: int
    ties: int


def ratings(battles: Iterable[Battle]) -> list[Rating]:
    """Ratings of the models of these comparisons, the highest first. Raises ValueError for an unknown outcome."""
    counts = Counter(battles)
    for first, second, outcome in counts:
        if outcome not in OUTCOMES or first == second:
            raise ValueError(f"no comparison of two models: {first}, {second}, {outcome}")
    models = sorted({model for first, second, _ in counts for model in (first, second)})
    if not models:
        return []
    places = {model: place for place, model in enumerate(models)}
    observed = np.zeros((len(models), len(models)))
    for (first, second, outcome), count in counts.items():
        observed[places[first], places[second]] += count * _FIRST_SCORE[outcome]
        observed[places[second], places[first]] += count * (1 - _FIRST_SCORE[outcome])
    values = MEAN_RATING + 400 / np.log(10) * log_strengths(np.stack([observed, *drawn_scores(observed)]))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail], axis=0)
    low, high = np.minimum(low, values[0]), np.maximum(high, values[0])  # no draw reaches the rating of who always won
    table = []
    for model, place in places.items():
        wins, losses, ties = _record(counts, model)
        estimates = (round(float(numbers[place]), 1) for numbers in (values[0], low, high))
        table.append(Rating(model, *estimates, battles=wins + losses + ties, wins=wins, losses=losses, ties=ties))
    return sorted(table, key=lambda rating: (-rating.rating, rating.model))


def drawn_scores(observed: np.ndarray) -> np.ndarray:
    """Scores that the posterior of each pair's share of wins gives, [DRAWS, models, models].

    observed: as one sample of `log_strengths`. Pairs that have not met have no scores.
    """
    rng, scores = np.random.default_rng(SEED), np.zeros((DRAWS, *observed.shape))
    for first, second in zip(*np.nonzero(np.triu(observed + observed.T)), strict=True):
        won, lost = observed[first, second], observed[second, first]
        scores[:, first, second] = (won + lost) * rng.beta(won + 0.5, lost + 0.5, DRAWS)
        scores[:, second, first] = won + lost - scores[:, first, second]
    return scores


def log_strengths(scores: np.ndarray) -> np.ndarray:
    """Natural logarithms of strengths [samples, models], of mean 0, from scores [samples, models, models].

    ``scores[s, i, j]`` is the number of wins of i against j, with half of their ties.
    """
    played = scores + scores.transpose(0, 2, 1)
    won = scores.sum(2) + 0.5
    logs = np.zeros(won.shape)
    for _ in range(MOST_STEPS):
        strengths = np.exp(logs)
        weights = (played / (strengths[:, :, None] + strengths[:, None, :])).sum(2) + 1 / (strengths + 1)
        updated = np.log(won / weights)
        change = float(np.abs(updated - logs).max())
        logs = updated
        if change < TOLERANCE:
            break
    return logs - logs.mean(1, keepdims=True)


def _record(counts: Counter[Battle], model: str) -> tuple[int, int, int]:
    """Wins, losses and ties of a model."""
    results = {"wins": 0, "losses": 0, "ties": 0}
    for (first, second, outcome), count in counts.items():
        if model in (first, second):
            side = "first" if model == first else "second"
            results["ties" if outcome == "tie" else "wins" if outcome == side else "losses"] += count
    return results["wins"], results["losses"], results["ties"]
