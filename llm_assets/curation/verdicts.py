"""What two sets of quality rules make of the same pages, counted and sampled (tables of `corpus.compare`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.recipes import Rule
from llm_assets.sql import query, statement

from .corpus import texts_of
from .corpus_report import funnel
from .ledger import STAGES
from .personal_data import scrub_for_display
from .quality import breaks

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)  # shown of each statistic


@dataclass(frozen=True)
class RuleCount:
    """How many pages a rule drops under the first set of rules, and under the other."""

    rule: str
    before: int
    after: int


def rule_counts(table: pl.DataFrame) -> list[RuleCount]:
    """The rules that drop a page under either set, those that drop the most first."""
    before, after = (dict(table[column].drop_nulls().value_counts().iter_rows()) for column in ("rule", "other_rule"))
    names = sorted({*before, *after}, key=lambda name: (-max(before.get(name, 0), after.get(name, 0)), name))
    return [RuleCount(name, before.get(name, 0), after.get(name, 0)) for name in names]


def changed_pages(table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pages that only the first set keeps, and those that only the other one keeps."""
    now_dropped = pl.col("rule").is_null() & pl.col("other_rule").is_not_null()
    now_kept = pl.col("rule").is_not_null() & pl.col("other_rule").is_null()
    return table.filter(now_dropped), table.filter(now_kept)


def sample_pages(workspace: Workspace, pages: pl.DataFrame, samples: int) -> list[dict[str, Any]]:
    """Some of these pages, spread over them by hash, with their texts, in which personal data is replaced."""
    shown = pages.sort(pl.col("url").hash(seed=1), "url", "crawl", "warc_offset").head(samples)
    texts = texts_of(workspace, shown)
    scrubbed = scrub_for_display(pl.DataFrame({"text": list(texts.values())}, schema={"text": pl.String}))["text"]
    texts = dict(zip(texts, scrubbed, strict=True))
    return [
        {**row, "text": texts[row["crawl"], row["warc_file"], row["warc_offset"]]}
        for row in shown.iter_rows(named=True)
    ]


@dataclass(frozen=True)
class RuleRange:
    """A rule, how many pages break it (whether or not an earlier rule drops them), and its statistic's QUANTILES."""

    rule: Rule
    breaking: int
    quantiles: list[float]


def rule_ranges(statistics: pl.DataFrame, rules: Sequence[Rule]) -> list[RuleRange]:
    """Where the pages lie along each rule's threshold. statistics: see `corpus.built_statistics`."""
    ranges = []
    for rule in rules:
        column = statistics[rule.column].cast(pl.Float64).drop_nulls().drop_nans()
        quantiles = [float(column.quantile(share, "nearest") or 0.0) for share in QUANTILES] if len(column) else []
        ranges.append(RuleRange(rule, int(statistics.select(breaks(rule).sum()).item() or 0), quantiles))
    return ranges


def crawl_funnel(artifacts: Mapping[str, Mapping[str, Artifact]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tables Funnel and RejectsByRule of crawls, before or without the corpus report.

    artifacts: those of ``raw_warc`` and of every rejecting stage, by stage, for each crawl.
    """
    funnels = pl.concat([funnel(crawl, dict(inputs)) for crawl, inputs in artifacts.items()])
    rejects = [path for inputs in artifacts.values() for stage in STAGES for path in inputs[stage].table("rejects")]
    return funnels, query(statement("rejects_by_rule"), files=rejects)
