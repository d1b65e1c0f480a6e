"""`filtered_urls`: the URL rules, applied to the capture index in DuckDB. No page body is read."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import polars as pl

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import polars_schema, scan_table
from llm_assets.compute import LocalEngine
from llm_assets.recipes import UrlFilter
from llm_assets.sql import query, statement

from .rejects import count_rules
from .schemas import FilteredUrls, Rejects


@lru_cache(maxsize=4)
def _substrings(words: tuple[Path, ...]) -> str | None:
    """The substring words as one regular expression, or None if there are none."""
    substrings = scan_table(words).filter(pl.col("kind") == "substrings").select("word").unique().sort("word")
    return "|".join(re.escape(word) for word in substrings.collect()["word"]) or None


def judge(
    captures: Path, domains: list[Path], words: list[Path], opt_out: list[Path], rules: UrlFilter
) -> pl.DataFrame:
    """Every capture of one index file: `rule` is null if it is kept; else there are the rule, value and threshold."""
    return query(
        statement("filter_urls"),
        captures=[captures],
        domains=domains,
        words=words,
        opt_out=opt_out,
        mime_types=list(rules.mime_types),
        soft_word_limit=rules.soft_word_limit,
        substrings=_substrings(tuple(words)),
    )


class UrlLists(NamedTuple):
    """Tables of `url_blocklists`, and those of a crawl's opt-out signals that may concern a WARC file."""

    domains: list[Path]
    words: list[Path]
    opt_out: list[Path]
    signals: list[Path]


def obey_signals(judged: pl.DataFrame, signals: list[Path], rules: UrlFilter) -> pl.DataFrame:
    """The verdicts, with a rejection of each capture that is kept so far and refuses to be used for training."""
    is_refusal = pl.col("opts_out") & pl.col("signal").is_in(list(rules.obey_opt_outs))
    of_file = pl.col("warc_file").is_in(judged["warc_file"].unique().implode())
    refusals = scan_table(signals).filter(of_file & is_refusal).collect()
    # One rejection for each capture, by the same signal in every build.
    ordered = refusals.sort("warc_file", "warc_offset", "signal", "source")
    first = ordered.unique(["warc_file", "warc_offset"], keep="first", maintain_order=True).select(
        "warc_file", "warc_offset", refusal=pl.format("{}={} ({})", "signal", "value", "source")
    )
    marked = judged.join(first, on=["warc_file", "warc_offset"], how="left", maintain_order="left")
    refuses = pl.col("rule").is_null() & pl.col("refusal").is_not_null()
    return marked.with_columns(
        rule=pl.when(refuses).then(pl.lit("opt_out_signal")).otherwise("rule"),
        value=pl.when(refuses).then("refusal").otherwise("value"),
        threshold=pl.when(refuses).then(pl.lit("")).otherwise("threshold"),
    ).drop("refusal")


def filter_task(staging: Path, name: str, captures: Path, lists: UrlLists, rules: UrlFilter) -> None:
    """Worker: judge the captures of one WARC file."""
    with Task(staging, name) as task:
        judged = judge(captures, lists.domains, lists.words, lists.opt_out, rules)
        judged = obey_signals(judged, lists.signals, rules)
        passed = judged.filter(pl.col("rule").is_null())
        rejected = judged.filter(pl.col("rule").is_not_null())
        task.table("urls", FilteredUrls).frame(passed.select(list(polars_schema(FilteredUrls))))
        task.table("rejects", Rejects).frame(rejected.select(list(polars_schema(Rejects))))
        task.stats.update(pages=len(judged), kept=len(passed), rejected=len(rejected), rejects=count_rules(rejected))


def build_filtered_urls(step: Step, config: UrlFilter) -> None:
    """One task per WARC file. DuckDB uses all cores by itself, so the tasks run in this process, one after another."""
    blocklists, raw = step.input("url_blocklists"), step.input("raw_warc")
    tables = blocklists.table("domains"), blocklists.table("words"), blocklists.table("opt_out")
    captures = {path.stem: path for path in raw.table("captures")}
    signals = {path.stem: path for path in raw.table("opt_out_signals")}
    of_sites = [path for name, path in signals.items() if name not in captures]  # sorted by place, in one file
    tasks = {name: (path, UrlLists(*tables, [signals[name], *of_sites]), config) for name, path in captures.items()}
    step.run_tasks(filter_task, tasks, "WARC files", engine=LocalEngine(1))


FILTERED_URLS = Stage(
    name="filtered_urls",
    group="curation",
    description="The captures whose status, media type and URL pass the rules, the blocklists and the opt-outs.",
    kinds=("duckdb", "parquet"),
    build=build_filtered_urls,
    code_version="3",
    config=lambda recipe, _: recipe.url_filter,
    per_crawl=True,
    inputs=("url_blocklists", "raw_warc"),
    tables={"urls": FilteredUrls, "rejects": Rejects},
    main_table="urls",
    libraries=("duckdb", "polars"),
)
