"""From observations to figures with intervals, and from these to verdicts on the claims of a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from llm_assets.artifacts.tables import polars_schema
from llm_assets.evaluation.intervals import Estimate, mean, share

from .schemas import Results, SeedResults, Verdicts

HELD, FAILED, UNDECIDED = "held", "did not hold", "undecided"


@dataclass(frozen=True)
class Claim:
    """A part of a prediction: a figure, by its keys in the table Results, is at least or at most `bound`."""

    text: str
    figure: str
    series: str
    x: float
    side: str
    bound: float


def at_least(bound: float, text: str, figure: str, series: str, x: float) -> Claim:
    """The claim that a figure is at least `bound`."""
    return Claim(text, figure, series, x, "at least", bound)


def at_most(bound: float, text: str, figure: str, series: str, x: float) -> Claim:
    """The claim that a figure is at most `bound`."""
    return Claim(text, figure, series, x, "at most", bound)


def pooled(values_by_seed: Sequence[Sequence[float]]) -> Estimate:
    """The mean of the values of all seeds, with an interval that covers questions and seeds.

    It is Wilson's interval for the share of true values, a bootstrap interval for numbers, widened to the range of the
    seeds' means: questions to one model say nothing about how much models differ. Raises ValueError without values.
    """
    values = [value for of_seed in values_by_seed for value in of_seed]
    are_shares = all(isinstance(value, bool) for value in values)
    whole = share(sum(values), len(values)) if are_shares else mean(values)
    means = [sum(of_seed) / len(of_seed) for of_seed in values_by_seed if len(of_seed)]
    return whole._replace(low=min(whole.low, *means), high=max(whole.high, *means))


def result_tables(observations: Sequence[Mapping[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables Results and SeedResults of the observations (`experiment.observation`), in their order."""
    by_key: dict[tuple[str, str, float], dict[int, list[float]]] = {}
    for row in observations:
        seeds = by_key.setdefault((row["figure"], row["series"], float(row["x"])), {})
        seeds.setdefault(row["seed"], []).extend(row["values"])
    results, of_seeds = [], []
    for key, seeds in by_key.items():
        results.append((*key, *pooled(list(seeds.values())), len(seeds)))
        of_seeds += [(*key, seed, sum(values) / len(values), len(values)) for seed, values in sorted(seeds.items())]
    return (
        pl.DataFrame(results, schema=polars_schema(Results), orient="row"),
        pl.DataFrame(of_seeds, schema=polars_schema(SeedResults), orient="row"),
    )


def judge(claims: Sequence[Claim], results: pl.DataFrame) -> pl.DataFrame:
    """The table Verdicts. Raises KeyError if a claim is about a figure that was not measured."""
    rows = []
    for claim in claims:
        key = (claim.figure, claim.series, claim.x)
        measured = results.filter(
            (pl.col("figure") == claim.figure) & (pl.col("series") == claim.series) & (pl.col("x") == claim.x)
        )
        if not len(measured):
            raise KeyError(f"claim {claim.text!r}: {key} was not measured")
        [row] = measured.to_dicts()
        on_side, off_side = row["low"] >= claim.bound, row["high"] < claim.bound
        if claim.side == "at most":
            on_side, off_side = row["high"] <= claim.bound, row["low"] > claim.bound
        verdict = HELD if on_side else FAILED if off_side else UNDECIDED
        estimate = (row["value"], row["low"], row["high"], row["n"])
        rows.append((claim.text, *key, *estimate, claim.side, claim.bound, verdict))
    return pl.DataFrame(rows, schema=polars_schema(Verdicts), orient="row")


def conclusion(verdicts: pl.DataFrame) -> str:
    """What the verdicts say together, in one sentence."""
    counts = {verdict: verdicts.filter(pl.col("verdict") == verdict).height for verdict in (HELD, FAILED, UNDECIDED)}
    total = len(verdicts)
    if not total:
        return "Nothing could be measured on this corpus."
    if counts[HELD] == total:
        return f"The prediction held: all {total} claims."
    parts = [f"{counts[HELD]} of {total} claims held"]
    parts += [f"{counts[verdict]} {verdict}" for verdict in (FAILED, UNDECIDED) if counts[verdict]]
    return f"The prediction {'did not hold' if counts[FAILED] else 'is undecided'}: {', '.join(parts)}."
