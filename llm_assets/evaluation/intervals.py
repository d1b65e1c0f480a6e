"""Figures with their uncertainty: a value, its 95 % confidence interval, and the number of observations."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

CONFIDENCE = 0.95
RESAMPLES = 2_000  # the ends of the interval then vary by about a tenth of its width
SEED = 1


class Estimate(NamedTuple):
    """A figure. low, high: ends of the 95 % confidence interval. n: observations, such as questions."""

    value: float
    low: float
    high: float
    n: int


def share(successes: int, n: int) -> Estimate:
    """A share of independent observations, with Wilson's score interval.

    The interval holds its confidence for few observations and for shares near 0 and 1 too (Brown, Cai, DasGupta,
    Statistical Science 16, 2001). Raises ValueError without observations.
    """
    from scipy.stats import binomtest

    if n < 1:
        raise ValueError("a share of no observations")
    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def mean(values: Sequence[float], subjects: Sequence[Hashable] | None = None) -> Estimate:
    """The mean of values, with a bootstrap interval that draws subjects, not values.

    subjects: whom or what each value is about. Answers about one person are right or wrong together; drawing values one
    by one would make the interval too narrow. None takes each value for a subject of its own. Raises ValueError without
    values.
    """
    if not len(values):
        raise ValueError("a mean of no values")
    every = np.asarray(values, float)
    if subjects is None:
        return ratio(every, np.ones(len(every)))
    numbers: dict[Hashable, int] = {}
    place = [numbers.setdefault(subject, len(numbers)) for subject in subjects]
    return ratio(np.bincount(place, every), np.bincount(place))._replace(n=len(every))


def ratio(numerators: ArrayLike, denominators: ArrayLike) -> Estimate:
    """The sum of the numerators over that of the denominators, with a bootstrap interval that draws observations.

    Of each observation there is one numerator and one denominator, such as a page's bits and bytes. Raises ValueError
    without observations.
    """
    sums, counts = np.asarray(numerators, float), np.asarray(denominators, float)
    if not len(sums):
        raise ValueError("a ratio of no observations")
    drawn = np.random.default_rng(SEED).integers(0, len(sums), (RESAMPLES, len(sums)))
    ratios = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high), len(sums))


def proportion(values: Sequence[float], subjects: Sequence[Hashable] | None = None) -> Estimate:
    """The mean of values between 0 and 1, such as grades, or each problem's share of right solutions.

    Wilson's interval if the values are 0 or 1 and no two are about one subject, else the bootstrap's. Where all values
    are equal, resampling cannot vary them; the interval is then Wilson's for as many observations as there are
    subjects. Raises ValueError without values.
    """
    observed = len(values) if subjects is None else len(set(subjects))
    if len(set(values)) == 1:
        value = float(values[0])
        ends = share(round(value * observed), observed)
        return Estimate(value, min(ends.low, value), max(ends.high, value), len(values))
    if observed == len(values) and set(values) <= {0, 1}:
        return share(int(sum(values)), observed)
    return mean(values, subjects)


def difference(after: Sequence[float], before: Sequence[float], subjects: Sequence[Hashable] | None = None) -> Estimate:
    """The mean change of paired values, such as two models' grades of the same questions; see `mean`."""
    return mean([float(late) - float(early) for late, early in zip(after, before, strict=True)], subjects)
