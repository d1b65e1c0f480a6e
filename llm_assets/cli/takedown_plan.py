"""The plan of a takedown: what it would change."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import click
import polars as pl

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.purge import Takedowns, artifacts_holding, interrupted_builds, is_model
from llm_assets.artifacts.tables import read_table
from llm_assets.web.blocklists import OptOutRule
from llm_assets.web.taken_down import CoveredPages, covered_pages, holds_records, interrupted_crawls


@dataclass
class Plan:
    """What a takedown would change.

    pages: the covered pages, by artifact of `raw_warc`.
    removed: artifacts that may hold their text.
    models: models that were trained on them.
    crawling: staging folders of interrupted crawls that hold records of them.
    staging: staging folders of other interrupted builds.
    copies: URLs that the rule does not cover but that returned the same bytes.
    """

    rule: OptOutRule
    pages: list[CoveredPages]
    removed: list[Artifact]
    models: list[Artifact]
    crawling: list[Path]
    staging: list[Path]
    copies: list[str] = field(default_factory=list)

    @cached_property
    def urls(self) -> frozenset[str]:
        return frozenset().union(*(pages.urls for pages in self.pages))

    @property
    def assets(self) -> set[str]:
        """Assets whose artifacts are removed."""
        return {artifact.record.asset for artifact in self.removed}


def make_plan(workspace: Workspace, rule: OptOutRule, everything: bool = False) -> Plan:
    """The plan for a rule. Raises ClickException if it covers nothing, or every page unless `everything` is set."""
    store = workspace.store
    crawls = [covered_pages(artifact, rule) for artifact in store.artifacts("raw_warc")]
    covered = [pages for pages in crawls if pages.urls]
    crawling = [folder for folder in interrupted_crawls(store) if holds_records(folder, rule)]
    if not covered and not crawling:
        names = ", ".join(sorted({pages.crawl for pages in crawls})) or "none"
        raise click.ClickException(
            f"no page of {rule.rule} is in the store (crawls: {names}); nothing was changed. "
            "To keep it out of later crawls, add it to the opt-out list, data/opt_out.txt"
        )
    if (
        any(pages.with_text for pages in crawls)
        and not any(pages.others_with_text for pages in crawls)
        and not everything
    ):
        captures = sum(pages.with_text for pages in crawls)
        raise click.ClickException(
            f"{rule.rule} covers every page of the store ({captures:,} captures); nothing was changed. "
            "If you mean that, add --everything"
        )
    holding = _holders_of(workspace, covered)
    record = Takedowns(store).load_or_new(rule.rule)
    still_marked = {model.identity for model in record.models} - set(record.cleared)
    models = [artifact for artifact in holding if is_model(artifact)]
    models += [
        artifact
        for artifact in store.artifacts()
        if artifact.record.identity in still_marked and artifact not in models
    ]
    removed = [artifact for artifact in holding if not is_model(artifact)]
    staging = list(interrupted_builds(store, "raw_warc"))
    return Plan(rule, covered, removed, models, crawling, staging, copies_of(covered, crawls))


def _holders_of(workspace: Workspace, covered: list[CoveredPages]) -> list[Artifact]:
    """Artifacts downstream of the crawls that may hold text of the covered pages."""
    if not covered:
        return []
    by_crawl: dict[str, tuple[frozenset[str], frozenset[str]]] = {}  # URLs and doc_ids
    for pages in covered:
        urls, ids = by_crawl.get(pages.crawl, (frozenset(), frozenset()))
        by_crawl[pages.crawl] = (urls | pages.urls, ids | pages.doc_ids)
    sources = {pages.artifact.record.identity for pages in covered if pages.in_ground_truth}
    return artifacts_holding(workspace.store, workspace.graph, by_crawl, sources)


def copies_of(covered: list[CoveredPages], crawls: list[CoveredPages]) -> list[str]:
    """URLs that the rule does not cover but that returned the same bytes."""
    urls = frozenset().union(*(pages.urls for pages in covered))
    tables = [
        read_table(path, columns=["url", "payload_digest", "payload_bytes", "record_type", "status"])
        for pages in crawls
        for path in pages.artifact.table("captures")
    ]
    if not tables:
        return []
    captures = pl.concat(tables).filter((pl.col("payload_bytes") > 0) & (pl.col("status").fill_null(200) == 200))
    is_covered = pl.col("url").is_in(list(urls))
    digests = captures.filter(is_covered)["payload_digest"].unique()
    has_digest = pl.col("payload_digest").is_in(digests.implode())
    is_page = pl.col("record_type").is_in(["response", "resource"])
    return captures.filter(~is_covered & has_digest & is_page)["url"].unique().sort().to_list()
