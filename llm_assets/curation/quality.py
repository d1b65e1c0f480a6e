"""`quality_filtered_text`: pages that pass the recipe's quality rules, as an expression over `text_statistics`.

Rules and thresholds stand in `llm_assets/recipes/quality.py`. They are asked in the order of the published pipeline
(Gopher's repetition, Gopher's quality, C4, FineWeb); a page is rejected by the first that it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import polars_schema
from llm_assets.recipes import Rule
from llm_assets.recipes.frozen import Frozen

from .rejects import DOCUMENT, Tally
from .schemas import QualityFilteredText, Rejects, TextStatistic
from .text_statistics import TEXT_STATISTICS

_NUMBERS = [column for column in polars_schema(TextStatistic) if column != "edited_text"]


class QualityRules(Frozen):
    """The rules that hold, in the order in which they are asked."""

    rules: tuple[Rule, ...]


def breaks(rule: Rule) -> pl.Expr:
    """Whether a page's statistics break the rule."""
    column, threshold = pl.col(rule.column), rule.threshold
    return {
        "below": column < threshold,
        "above": column > threshold,
        "at_or_below": column <= threshold,
        "at_or_above": column >= threshold,
    }[rule.drops]


def verdict(rules: Sequence[Rule]) -> pl.Expr:
    """Name of the first rule that a page breaks; null for a page to keep."""
    decided: pl.Expr = pl.lit(None, dtype=pl.String)
    for rule in reversed(rules):
        decided = pl.when(breaks(rule)).then(pl.lit(rule.name)).otherwise(decided)
    return decided


def measured(rules: Sequence[Rule]) -> pl.Expr:
    """The value of the column of the rule that a row's `rule` names; null where it names none."""
    value: pl.Expr = pl.lit(None, dtype=pl.Float64)
    for rule in rules:
        value = pl.when(pl.col("rule") == rule.name).then(pl.col(rule.column)).otherwise(value)
    return value


def format_number(number: float) -> str:
    """A number for a person: whole numbers whole, others to six significant digits (so that 0.30004 is not "0.3")."""
    return f"{number:.0f}" if number == int(number) else f"{number:.6g}"


def joined(texts: Path, statistics: Path, with_text: bool) -> Iterator[pl.DataFrame]:
    """Pages of one WARC file with their statistics beside them, in frames, in file order.

    Both tables hold the same pages in the same order: they are read side by side, not joined. Raises ValueError where
    they do not.
    """
    numbers = pq.ParquetFile(statistics)
    size = 4096
    pages = pq.ParquetFile(texts).iter_batches(size, columns=None if with_text else [*DOCUMENT])
    columns = [*_NUMBERS, "edited_text"] if with_text else _NUMBERS
    for page_batch, number_batch in zip(pages, numbers.iter_batches(size, columns=columns), strict=True):
        page, number = pl.DataFrame(page_batch), pl.DataFrame(number_batch)
        if not page["doc_id"].equals(number["doc_id"]) or not page["warc_offset"].equals(number["warc_offset"]):
            raise ValueError(f"{statistics} does not hold the pages of {texts}")
        yield pl.concat([page, number.drop("doc_id", "warc_offset")], how="horizontal")


def quality_task(staging: Path, name: str, texts: Path, statistics: Path, rules: tuple[Rule, ...]) -> None:
    """Worker: the verdict on the pages of one WARC file, in file order."""
    thresholds = {rule.name: format_number(rule.threshold) for rule in rules}
    columns = list(polars_schema(QualityFilteredText))
    with Task(staging, name) as task:
        kept, rejects = task.table("text", QualityFilteredText), task.table("rejects", Rejects)
        tally, edited = Tally(), 0
        for frame in joined(texts, statistics, with_text=True):
            judged = frame.with_columns(rule=verdict(rules))
            passed, failed = judged.filter(pl.col("rule").is_null()), judged.filter(pl.col("rule").is_not_null())
            kept.frame(
                passed.with_columns(
                    text=pl.coalesce("edited_text", "text"), words=pl.col("words").cast(pl.Int64)
                ).select(columns)
            )
            rejects.frame(
                failed.select(
                    *DOCUMENT,
                    "rule",
                    stage=pl.lit("quality_filtered_text"),
                    value=measured(rules).map_elements(format_number, return_dtype=pl.String),
                    threshold=pl.col("rule").replace_strict(thresholds, return_dtype=pl.String),
                )
            )
            tally.add(passed, failed)
            edited += passed["edited_text"].count()
        task.stats.update(tally.stats(), edited=edited)


def build_quality_filtered_text(step: Step, config: QualityRules) -> None:
    """One part a WARC file, over the engine's workers."""
    statistics = {path.stem: path for path in step.input(TEXT_STATISTICS.name).table("statistics")}
    texts = {path.stem: path for path in step.input("language_filtered_text").table("text")}
    tasks = {name: (path, statistics[name], config.rules) for name, path in texts.items()}
    step.run_tasks(quality_task, tasks, "WARC files", {name: path.stat().st_size for name, path in texts.items()})


QUALITY_FILTERED_TEXT = Stage(
    name="quality_filtered_text",
    group="curation",
    description="Pages that pass the recipe's Gopher, C4 and FineWeb rules.",
    kinds=("polars", "parquet"),
    build=build_quality_filtered_text,
    code_version="1",
    config=lambda recipe, _: QualityRules(rules=recipe.quality.effective()),
    per_crawl=True,
    inputs=("language_filtered_text", TEXT_STATISTICS.name),
    tables={"text": QualityFilteredText, "rejects": Rejects},
    main_table="text",
    libraries=("polars",),
)
