"""The funnel, documents with their history, and what other thresholds would do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Query, Response

from llm_assets.artifacts import Artifact
from llm_assets.artifacts.errors import ArtifactError
from llm_assets.curation import corpus
from llm_assets.curation.documents import (
    KEPT,
    REJECTED,
    DocumentFilter,
    document_history,
    find_documents,
    raw_page,
)
from llm_assets.curation.ledger import STAGES
from llm_assets.curation.personal_data import KINDS
from llm_assets.curation.text_statistics.stage import TEXT_STATISTICS
from llm_assets.curation.verdicts import (
    QUANTILES,
    changed_pages,
    crawl_funnel,
    rule_counts,
    rule_ranges,
    sample_pages,
)

from .foreign_pages import foreign_page, foreign_source
from .protocol import (
    BrokenRule,
    DocumentBody,
    DocumentList,
    DocumentRow,
    Flip,
    FunnelBody,
    RuleBody,
    RulesBody,
    WhatIfBody,
    WhatIfRequest,
)
from .reading import HOUR, Reader

MOST_OFFSET = 1 << 40

Words = Annotated[str, Query(max_length=500)]
Name = Annotated[str, Query(min_length=1, max_length=500)]
Crawls = Annotated[list[str], Query(max_length=64)]
Offset = Annotated[int, Query(ge=0, le=MOST_OFFSET)]


def add_data(router: APIRouter, reader: Reader) -> None:
    @router.get("/data/funnel")
    async def funnel() -> FunnelBody:
        """How many pages each stage and rule kept and rejected."""
        return await reader.run(partial(reader.remembered, "funnel", partial(_funnel, reader)))

    @router.get("/data/documents")
    async def documents(
        text: Words = "",
        url: Words = "",
        host: Words = "",
        state: Literal["", "kept", "rejected"] = "",
        stage: Words = "",
        rule: Words = "",
        language: Words = "",
        crawl: Crawls = [],  # noqa: B006 - FastAPI copies it
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        offset: Offset = 0,
    ) -> DocumentList:
        """Documents by their text ("quoted phrases" too), URL and fate."""
        wanted = DocumentFilter(text, url, host, state, stage, rule, language)
        return await reader.run(partial(_documents, reader, crawl, wanted, limit, offset))

    @router.get("/data/document")
    async def document(crawl: Name, file: Name, offset: Offset) -> DocumentBody:
        """One capture: what became of it, its texts, and what was removed from its page."""
        return await reader.run(partial(_document, reader, crawl, file, offset))

    @router.get("/data/raw", response_class=Response, responses={200: {"content": {"text/html": {}, "text/plain": {}}}})
    async def raw(crawl: Name, file: Name, offset: Offset, form: Literal["page", "source"] = "source") -> Response:
        """A page as it was crawled: its source as text, or the page for a frame, without scripts and remote content."""

        def read() -> str:
            corpus.named_crawls(reader.workspace, [crawl])
            return raw_page(reader.workspace, crawl, file, offset).markup

        markup = await reader.run(read)
        return foreign_page(markup) if form == "page" else foreign_source(markup)

    @router.get("/data/rules")
    async def rules() -> RulesBody:
        """The recipe's quality rules, and where the pages lie along their thresholds."""
        return await reader.run(partial(_rules, reader))

    @router.post("/data/what-if")
    async def what_if(body: WhatIfRequest) -> WhatIfBody:
        """What other thresholds would keep and drop. Nothing is rebuilt."""
        return await reader.run(partial(_what_if, reader, body))


def _built_crawls(reader: Reader) -> tuple[dict[str, dict[str, Artifact]], list[str]]:
    """The artifacts of the crawls that are built up to the corpus, by crawl and stage, and the other crawls."""
    resolver = reader.workspace.resolver()
    built: dict[str, dict[str, Artifact]] = {}
    unbuilt: list[str] = []
    for crawl in reader.workspace.recipe.corpus():
        try:
            built[crawl] = {stage: resolver.artifact(stage, crawl) for stage in ("raw_warc", *STAGES)}
        except ArtifactError:
            unbuilt.append(crawl)
    return built, unbuilt


def _funnel(reader: Reader) -> FunnelBody:
    built, unbuilt = _built_crawls(reader)
    if not built:
        reader.workspace.resolver().artifact(STAGES[-1], unbuilt[0] if unbuilt else None)  # raises
    rows, rules = crawl_funnel(built)
    return FunnelBody(crawls=list(built), unbuilt=unbuilt, funnel=rows.to_dicts(), rules=rules.to_dicts())


def _crawls(reader: Reader, names: Sequence[str]) -> list[str]:
    """The named crawls, or those of the recipe that are built, or all of them if none is."""
    crawls = corpus.named_crawls(reader.workspace, names)
    if names:
        return crawls
    built, _ = reader.remembered("built", partial(_built_crawls, reader))
    return list(built) or crawls


def _documents(reader: Reader, crawls: Sequence[str], wanted: DocumentFilter, limit: int, offset: int) -> DocumentList:
    page = find_documents(reader.workspace, _crawls(reader, crawls), wanted, limit, offset)
    documents = [
        DocumentRow(**row, placeholders={kind: row[kind] for kind in KINDS if row[kind]}) for row in page.documents
    ]
    return DocumentList(total=page.total, documents=documents)


def _document(reader: Reader, crawl: str, file: str, offset: int) -> DocumentBody:
    corpus.named_crawls(reader.workspace, [crawl])
    history = document_history(reader.workspace, crawl, file, offset)
    answer = history.answer
    broken = [
        BrokenRule(rule=rule.name, value=value, drops=rule.drops, threshold=rule.threshold, source=rule.source)
        for rule, value in answer.broken_rules
    ]
    page = (
        {name: value for name, value in answer.page.items() if name not in ("text", "title")} if answer.page else None
    )
    return DocumentBody(
        capture=answer.capture,
        state=REJECTED if answer.reject else KEPT if answer.page else "unknown",
        reject=answer.reject,
        page=page,
        broken_rules=broken,
        cluster=answer.cluster,
        versions=history.versions,
        title=history.title,
        texts=history.texts,
        parts=history.parts,
    )


def _statistics(reader: Reader, names: Sequence[str]) -> pl.DataFrame:
    """Statistics of the pages of crawls, kept in memory as long as their artifacts are the same."""
    crawls = sorted(_crawls(reader, names))
    resolver = reader.workspace.resolver()
    identities = tuple(resolver.artifact(TEXT_STATISTICS.name, crawl).record.identity for crawl in crawls)
    make = partial(corpus.built_statistics, reader.workspace, crawls)
    return reader.remembered(("statistics", *identities), make, HOUR)


def _rules(reader: Reader) -> RulesBody:
    statistics = _statistics(reader, [])
    ranges = rule_ranges(statistics, reader.workspace.recipe.quality.effective())
    rules = [
        RuleBody(
            rule=item.rule.name,
            column=item.rule.column,
            drops=item.rule.drops,
            threshold=item.rule.threshold,
            is_ratio=item.rule.ratio,
            source=item.rule.source,
            breaking=item.breaking,
            quantiles=item.quantiles,
        )
        for item in ranges
    ]
    return RulesBody(pages=len(statistics), shares=list(QUANTILES), rules=rules)


def _what_if(reader: Reader, body: WhatIfRequest) -> WhatIfBody:
    recipe = reader.workspace.recipe
    changed = corpus.with_thresholds(recipe, body.thresholds)
    statistics = _statistics(reader, body.crawls)
    table = corpus.compare(statistics, recipe.quality.effective(), statistics, changed.quality.effective())
    now_dropped, now_kept = changed_pages(table)
    return WhatIfBody(
        pages=len(table),
        kept_before=table["rule"].null_count(),
        kept_after=table["other_rule"].null_count(),
        now_dropped=len(now_dropped),
        now_kept=len(now_kept),
        rules=rule_counts(table),
        dropped_samples=_flips(reader, now_dropped, "other_", body.samples),
        kept_samples=_flips(reader, now_kept, "", body.samples),
    )


def _flips(reader: Reader, pages: pl.DataFrame, prefix: str, samples: int) -> list[Flip]:
    shown: list[dict[str, Any]] = sample_pages(reader.workspace, pages, samples) if samples and len(pages) else []
    return [Flip(**{**row, "rule": row[f"{prefix}rule"], "value": row[f"{prefix}value"]}) for row in shown]
