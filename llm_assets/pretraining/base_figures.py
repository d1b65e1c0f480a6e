"""Figures of the base model: predicted text, facts, recited pages and problems in context, beside their baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.evaluation.figures import Row, find, once, row
from llm_assets.evaluation.intervals import proportion, ratio
from llm_assets.evaluation.matrix import Matrix, matrix
from llm_assets.evaluation.question_baselines import MAJORITY

from .in_context import CHOICES

REACHES = {"many": "many pages", "once": "one page", "held_out": "no page of the crawl"}  # that tell a fact
TEXT, IN_CONTEXT = "text", "in_context"  # suites
BASE, NGRAM, XZ = "base", "5-gram of tokens", "xz after the training text"
VALIDATION, BITS = "validation pages", "bits_per_byte"


def majority_right(truth: pl.DataFrame, facts: pl.DataFrame) -> list[bool]:
    """Whether the relation's most common answer is right, for each of the facts.

    The most common answer is that of the facts told on many pages. truth: all prompts with known answers.
    """
    on_many_pages = truth.filter((pl.col("kind") == "completion") & (pl.col("reach") == "many"))
    counts = (
        on_many_pages.group_by("relation", "answer")
        .len()
        .sort("relation", "len", "answer", descending=[False, True, False])
    )
    majority = dict(
        counts.unique("relation", keep="first", maintain_order=True).select("relation", "answer").iter_rows()
    )
    return [majority.get(relation) == answer for relation, answer in facts.select("relation", "answer").iter_rows()]


def text_figures(results: Mapping[str, Any]) -> list[Row]:
    """Bits per byte of the validation pages by the model and the predictors that count and copy; empty without pages.

    The intervals draw pages. Of xz there is only one measurement.
    """
    pages = results["documents"]
    if not pages:
        return []
    sizes = [page["bytes"] for page in pages]
    estimates = {
        BASE: ratio([page["nats"] / math.log(2) for page in pages], sizes),
        NGRAM: ratio(results["ngram_bits"], sizes),
        XZ: once(results["xz"], len(pages)),
    }
    return [row(model, TEXT, VALIDATION, BITS, estimate) for model, estimate in estimates.items()]


def fact_figures(facts: pl.DataFrame, by_majority: Sequence[bool]) -> list[Row]:
    """The share of facts that the model completes, by how many pages tell them, beside a baseline.

    by_majority: whether the relation's most common answer is right, for each of the facts.
    """
    rows = []
    frame = facts.with_columns(majority=pl.Series(by_majority, dtype=pl.Boolean))
    for reach, title in REACHES.items():
        of_reach = frame.filter(pl.col("reach") == reach)
        for model, column in ((BASE, "right"), (MAJORITY, "majority")) if len(of_reach) else ():
            marks = of_reach[column].cast(pl.Float64).to_list()
            estimate = proportion(marks, of_reach["entity"].to_list())
            rows.append(row(model, TEXT, f"facts on {title}", "right", estimate))
    return rows


def recitation_figures(recitations: pl.DataFrame) -> list[Row]:
    """The share of pages that the model recites, by how often it was trained on them."""
    return [
        row(BASE, TEXT, f"pages seen {times} times", "recited", proportion(pages["recited"].cast(pl.Float64).to_list()))
        for (times,), pages in recitations.sort("times_seen").group_by("times_seen", maintain_order=True)
    ]


def in_context_figures(problems: pl.DataFrame) -> list[Row]:
    """How often the right choice of four is preferred, and the answer is given, beside a guess and copying."""
    rows = []
    for (task, shots), of_task in problems.group_by("task", "shots", maintain_order=True):
        group, count = f"{task}, {shots} examples", len(of_task)
        right, answered, latest = (
            proportion(of_task[name].cast(pl.Float64).to_list()) for name in ("right", "answer_right", "latest")
        )
        rows += [
            row(BASE, IN_CONTEXT, group, "right", right),
            row(BASE, IN_CONTEXT, group, "answered", answered),
            row("guess", IN_CONTEXT, group, "right", once(1 / CHOICES, count)),
            row("latest choice", IN_CONTEXT, group, "right", latest),
        ]
    return rows


def predictors(figures: pl.DataFrame) -> list[Row]:
    """Bits per byte of the validation pages by every predictor, the best first."""
    return find(figures, suite=TEXT, metric=BITS).sort("value").to_dicts()


def matrices(figures: pl.DataFrame) -> dict[str, Matrix]:
    """The figures of facts, of recited pages and of problems in context."""
    facts, recited = (find(figures, metric=metric) for metric in ("right", "recited"))
    return {
        "facts": matrix(facts, TEXT, "right"),
        "recited": matrix(recited, TEXT, "recited", better="neither"),
        "in_context": matrix(figures, IN_CONTEXT, "right"),
        "answered": matrix(figures, IN_CONTEXT, "answered", better="neither"),
    }
