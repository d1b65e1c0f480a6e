"""`quality_filtered_text`: pages that pass the recipe's quality rules, as an expression over `text_statistics`.

`llm_assets/recipes/quality.py` defines the rules and their thresholds. They are tested in the order of the published
pipeline (Gopher's repetition, Gopher's quality, C4, FineWeb), and a page is rejected by the first rule that it breaks.
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
from .schemas import QualityFilteredText, Rejects
from .text_statistics.stage import TEXT_STATISTICS, TextStatistic

_BATCH_ROWS = 4096
_NUMBERS = [column for column in polars_schema(TextStatistic) if column != "edited_text"]


class QualityRules(Frozen):
    """The rules that apply, in the order in which they are tested."""

    rules: tuple[Rule, ...]


def breaks(rule: Rule) -> pl.Expr:
    """Whether a page's statistics break a rule."""
    column, threshold = pl.col(rule.column), rule.threshold
    return {
        "below": column < threshold,
        "above": column > threshold,
        "at_or_below": column <= threshold,
        "at_or_above": column >= threshold,
    }[rule.drops]


def verdict(rules: Sequence[Rule]) -> pl.Expr:
    """Name of the first rule that a page breaks; null for a page that is kept."""
    decided: pl.Expr = pl.lit(None, dtype=pl.String)
    for rule in reversed(rules):
        decided = pl.when(breaks(rule)).then(pl.lit(rule.name)).otherwise(decided)
    return decided


def measured_value(rules: Sequence[Rule]) -> pl.Expr:
    """The value that the rule named in a row's `rule` tests; null where it names none."""
    value: pl.Expr = pl.lit(None, dtype=pl.Float64)
    for rule in rules:
        value = pl.when(pl.col("rule") == rule.name).then(pl.col(rule.column)).otherwise(value)
    return value


def format_number(number: float) -> str:
    """A number for people: an integer, or six significant digits (so that 0.30004 does not become "0.3")."""
    return f"{number:.0f}" if number == int(number) else f"{number:.6g}"


def pages_with_statistics(texts: Path, statistics: Path, with_text: bool) -> Iterator[pl.DataFrame]:
    """Frames of one WARC file's pages together with their statistics, in file order.

    Both tables hold the same pages in the same order, so they are read in parallel instead of being joined. Raises
    ValueError if they do not.
    """
    numbers = pq.ParquetFile(statistics)
    pages = pq.ParquetFile(texts).iter_batches(_BATCH_ROWS, columns=None if with_text else [*DOCUMENT])
    columns = [*_NUMBERS, "edited_text"] if with_text else _NUMBERS
    for page_batch, number_batch in zip(pages, numbers.iter_batches(_BATCH_ROWS, columns=columns), strict=True):
        page, number = pl.DataFrame(page_batch), pl.DataFrame(number_batch)
        if not page["doc_id"].equals(number["doc_id"]) or not page["warc_offset"].equals(number["warc_offset"]):
            raise ValueError(f"{statistics} does not hold the pages of {texts}")
        yield pl.concat([page, number.drop("doc_id", "warc_offset")], how="horizontal")


def quality_task(staging: Path, name: str, texts: Path, statistics: Path, rules: tuple[Rule, ...]) -> None:
    """Worker: judge the pages of one WARC file, in file order."""
    thresholds = {rule.name: format_number(rule.threshold) for rule in rules}
    columns = list(polars_schema(QualityFilteredText))
    with Task(staging, name) as task:
        texts_table, rejects = task.table("text", QualityFilteredText), task.table("rejects", Rejects)
        tally, edited = Tally(), 0
        for frame in pages_with_statistics(texts, statistics, with_text=True):
            judged = frame.with_columns(rule=verdict(rules))
            passed, failed = judged.filter(pl.col("rule").is_null()), judged.filter(pl.col("rule").is_not_null())
            texts_table.frame(
                passed.with_columns(
                    text=pl.coalesce("edited_text", "text"), words=pl.col("words").cast(pl.Int64)
                ).select(columns)
            )
            rejects.frame(
                failed.select(
                    *DOCUMENT,
                    "rule",
                    stage=pl.lit("quality_filtered_text"),
                    value=measured_value(rules).map_elements(format_number, return_dtype=pl.String),
                    threshold=pl.col("rule").replace_strict(thresholds, return_dtype=pl.String),
                )
            )
            tally.add(passed, failed)
            edited += passed["edited_text"].count()
        task.stats.update(tally.stats(), edited=edited)


def build_quality_filtered_text(step: Step, config: QualityRules) -> None:
    """One task per WARC file, over the engine's workers."""
    statistics = step.task_files(TEXT_STATISTICS.name, "statistics")
    texts = step.task_files("language_filtered_text", "text")
    tasks = {name: (path, statistics[name], config.rules) for name, path in texts.items()}
    step.run_tasks(quality_task, tasks, "WARC files")


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
