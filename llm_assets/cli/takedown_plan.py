"""What a takedown would change, before anything is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import click
import polars as pl

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.purge import Takedowns, artifacts_holding, interrupted_builds, is_model
from llm_assets.web.blocklists import OptOutRule
from llm_assets.web.taken_down import CoveredPages, covered_pages, holds_records, interrupted_crawls


@dataclass
class Plan:
    """What a takedown would change.

    pages: what the rule covers, by artifact of `raw_warc`. removed: artifacts that may hold text of them. models: those
    that were trained on them. crawling: interrupted crawls that hold records of them. staging: other interrupted builds.
    copies: URLs that the rule does not cover and that were answered with the same bytes.
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
        return frozenset().union(*(one.urls for one in self.pages))

    @property
    def assets(self) -> set[str]:
        """Assets of which something is removed."""
        return {one.record.asset for one in self.removed}


def make_plan(workspace: Workspace, rule: OptOutRule, everything: bool = False) -> Plan:
    """What a takedown would change. Raises ClickException where it covers nothing, or everything."""
    store = workspace.store
    crawls = [covered_pages(artifact, rule) for artifact in store.artifacts("raw_warc")]
    pages = [one for one in crawls if one.urls]
    crawling = [folder for folder in interrupted_crawls(store) if holds_records(folder, rule)]
    if not pages and not crawling:
        names = ", ".join(sorted({one.crawl for one in crawls})) or "none"
        raise click.ClickException(
            f"no page of {rule.rule} is in the store (crawls: {names}); nothing was changed. "
            "To keep it out of later crawls, add it to the opt-out list, data/opt_out.txt"
        )
    if any(one.with_text for one in crawls) and not any(one.others_with_text for one in crawls) and not everything:
        raise click.ClickException(
            f"{rule.rule} covers every page of the store ({sum(one.with_text for one in crawls):,} captures); nothing was changed. "
            "If that is meant, add --everything"
        )
    by_crawl: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    for one in pages:
        urls, ids = by_crawl.get(one.crawl, (frozenset(), frozenset()))
        by_crawl[one.crawl] = (urls | one.urls, ids | one.doc_ids)
    sources = {one.artifact.record.identity for one in pages if one.in_ground_truth}
    held = artifacts_holding(store, workspace.graph, by_crawl, sources) if pages else []
    before = Takedowns(store).load_or_new(rule.rule)
    known = {one.identity for one in before.models} - set(before.cleared)
    models = [one for one in held if is_model(one)]
    models += [one for one in store.artifacts() if one.record.identity in known and one not in models]
    staging = list(interrupted_builds(store, "raw_warc"))
    removed = [one for one in held if not is_model(one)]
    return Plan(rule, pages, removed, models, crawling, staging, copies_of(pages, crawls))


def copies_of(pages: list[CoveredPages], crawls: list[CoveredPages]) -> list[str]:
    """URLs that the rule does not cover and that were answered with the same bytes."""
    covered = frozenset().union(*(one.urls for one in pages))
    rows = [
        pl.read_parquet(path, columns=["url", "payload_digest", "payload_bytes", "record_type", "status"])
        for one in crawls
        for path in one.artifact.table("captures")
    ]
    if not rows:
        return []
    captures = pl.concat(rows).filter((pl.col("payload_bytes") > 0) & (pl.col("status").fill_null(200) == 200))
    is_covered = pl.col("url").is_in(list(covered))
    digests = captures.filter(is_covered)["payload_digest"].unique()
    same = pl.col("payload_digest").is_in(digests.implode()) & pl.col("record_type").is_in(["response", "resource"])
    return captures.filter(~is_covered & same)["url"].unique().sort().to_list()
