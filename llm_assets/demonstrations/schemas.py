"""Schemas of the tables that every demonstration writes."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Results(pa.DataFrameModel):
    """A measured figure over all seeds, with its interval.

    figure: what was measured, such as ``right``. series: of which models and questions. x: the place on the plot's
    horizontal axis. low, high: the 95 % interval of all observations, widened to the range of the seeds. n:
    observations. seeds: models, each trained with another seed.
    """

    figure: str
    series: str
    x: float
    value: float
    low: float
    high: float
    n: pl.Int64 = pa.Field(ge=1)
    seeds: pl.Int64 = pa.Field(ge=1)


class SeedResults(pa.DataFrameModel):
    """The mean of a figure for one seed, and its number of observations."""

    figure: str
    series: str
    x: float
    seed: pl.Int64
    value: float
    n: pl.Int64 = pa.Field(ge=1)


class Verdicts(pa.DataFrameModel):
    """A claim of the prediction, and the figure that decides it.

    bound: what the figure should be at least or at most, by `side`. verdict: ``held`` if the whole interval is on the
    predicted side of the bound, ``did not hold`` if it is on the other side, else ``undecided``.
    """

    claim: str
    figure: str
    series: str
    x: float
    value: float
    low: float
    high: float
    n: pl.Int64 = pa.Field(ge=1)
    side: str = pa.Field(isin=["at least", "at most"])
    bound: float
    verdict: str = pa.Field(isin=["held", "did not hold", "undecided"])


class Examples(pa.DataFrameModel):
    """A question or text, what a model made of it, and what would have been right (empty if nothing would be)."""

    series: str
    seed: pl.Int64
    prompt: str
    text: str
    expected: str
