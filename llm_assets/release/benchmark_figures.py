"""Figures of benchmarks: the harness's values with intervals, and the same without contaminated items."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.tables import polars_schema
from llm_assets.evaluation.figures import DIGITS, Row, row
from llm_assets.evaluation.intervals import Estimate, share

from .schemas import BenchmarkItems, BenchmarkRows

SUITE = "benchmarks"
RANDOM = "random choice"
NORMAL = 1.96  # standard errors on either side that hold 95 % of a normal distribution
CHOSEN = ("acc", "acc_norm")  # metrics of a multiple choice that a random choice is compared with
KEYS = ["model", "task", "filter", "metric"]


def items_table(results: Mapping[str, Any], overlaps: pl.DataFrame | None) -> pl.DataFrame:
    """Every item of every model, filter and metric (schema BenchmarkItems). results: of the evaluation process."""
    schema = polars_schema(BenchmarkItems)
    urls = {} if overlaps is None else {(task, item): url for task, item, url, _ in overlaps.iter_rows()}
    rows = [
        {
            "model": model,
            **item,
            "id": results["tasks"][item["task"]]["names"][item["item"]],
            "correct": item["value"] == 1 if item["value"] in (0, 1) else None,
            "overlap": urls.get((item["task"], item["item"])),
        }
        for model, answers in results["models"].items()
        for item in answers["items"]
    ]
    return pl.DataFrame(rows, schema=schema)


def figures_table(results: Mapping[str, Any], items: pl.DataFrame, is_searched: bool) -> pl.DataFrame:
    """Every figure of the harness, and those of a random choice (schema BenchmarkRows).

    is_searched: whether a corpus was searched for overlaps.
    """
    rows = []
    by_figure = dict(items.partition_by(KEYS, as_dict=True, maintain_order=True).items())
    for model, answers in results["models"].items():
        for figure in answers["figures"]:
            names = results["groups"].get(figure["task"], [figure["task"]])
            place = [(model, name, figure["filter"], figure["metric"]) for name in names]
            of_figure = pl.concat([items.clear(), *(by_figure[key] for key in place if key in by_figure)])
            rows.append({"model": model, **_with_interval(figure, of_figure), **_described(results, names)})
            rows[-1].update(_without_overlap(of_figure, figure["value"], is_searched))
    rows += [{**chance, "contaminated": None, "clean_n": None, "clean_value": None} for chance in _chances(results)]
    return pl.DataFrame(rows, schema=polars_schema(BenchmarkRows))


def _described(results: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    """Shots and version of a task, or of the tasks of a group."""
    described = [results["tasks"][task] for task in tasks]
    versions = dict.fromkeys(task["version"] for task in described)
    return {"shots": max(task["shots"] for task in described), "version": ", ".join(versions)}


def _with_interval(figure: Mapping[str, Any], items: pl.DataFrame) -> dict[str, Any]:
    """A figure with the ends of its interval."""
    value, error, n = figure["value"], figure["error"], figure["n"]
    low = high = None
    if _is_mean(items, value) and not items["correct"].null_count():
        _, low, high, _ = share(int(items["correct"].sum()), len(items))
    elif error is not None and not math.isnan(error):
        low, high = value - NORMAL * error, value + NORMAL * error
    ends = {name: None if end is None else round(end, DIGITS) for name, end in (("low", low), ("high", high))}
    place = {name: figure[name] for name in ("task", "metric", "filter")}
    return {**place, "n": n, "value": round(value, DIGITS), **ends}


def _is_mean(items: pl.DataFrame, value: float) -> bool:
    """Whether the harness's value is the mean of the items."""
    mean = items["value"].mean() if len(items) and not items["value"].null_count() else None
    return mean is not None and math.isclose(float(mean), value, abs_tol=1e-9)  # type: ignore[arg-type]


def _without_overlap(items: pl.DataFrame, value: float, is_searched: bool) -> dict[str, Any]:
    """The share of contaminated items, and the value without them."""
    if not is_searched or not len(items):
        return {"contaminated": None, "clean_n": None, "clean_value": None}
    clean = items.filter(pl.col("overlap").is_null())
    mean = clean["value"].mean() if len(clean) and _is_mean(items, value) else None
    return {
        "contaminated": round(1 - len(clean) / len(items), DIGITS),
        "clean_n": len(clean),
        "clean_value": None if mean is None else round(float(mean), DIGITS),  # type: ignore[arg-type]
    }


def _chances(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a random choice gets right on average, for every multiple choice and metric that a model has a figure of."""
    measured = {
        (figure["task"], figure["metric"]) for answers in results["models"].values() for figure in answers["figures"]
    }
    for name, tasks in ({name: [name] for name in results["tasks"]} | results["groups"]).items():
        described = [results["tasks"][task] for task in tasks]
        if any(task["chance"] is None for task in described):
            continue
        sizes = [len(task["names"]) for task in described]
        value = sum(task["chance"] * size for task, size in zip(described, sizes, strict=True)) / sum(sizes)
        for metric in CHOSEN:
            if (name, metric) in measured:
                place = {"model": RANDOM, "task": name, "metric": metric, "filter": "none", "n": sum(sizes)}
                yield {**place, "value": round(value, DIGITS), "low": None, "high": None, **_described(results, tasks)}


def evaluation_rows(figures: pl.DataFrame) -> list[Row]:
    """The figures as rows of the evaluation suite: a group per task; a metric's name ends with its filter's, if any."""
    rows = []
    for figure in figures.iter_rows(named=True):
        metric = figure["metric"] if figure["filter"] == "none" else f"{figure['metric']} {figure['filter']}"
        ends = (math.nan if figure[name] is None else figure[name] for name in ("low", "high"))
        rows.append(row(figure["model"], SUITE, figure["task"], metric, Estimate(figure["value"], *ends, figure["n"])))
    return rows


def main_metrics(evaluation: pl.DataFrame) -> dict[str, str]:
    """The first metric of each benchmark in a table EvaluationRows, which pages show."""
    of_suite = evaluation.filter(pl.col("suite") == SUITE)
    return dict(of_suite.group_by("group", maintain_order=True).agg(pl.col("metric").first()).iter_rows())
