"""Questions about a corpus: why a page was rejected, what another threshold would do, what the corpus holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Any

import duckdb
import polars as pl
from pydantic import ValidationError

from llm_assets.artifacts import Workspace, materialize
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import scan_table
from llm_assets.recipes import Recipe, Rule
from llm_assets.sql import connect, file_pattern, statement

from .ledger import STAGES
from .page_versions import PAGE_VERSIONS
from .quality import breaks, format_number, measured_value, pages_with_statistics, verdict
from .text_statistics.stage import TEXT_STATISTICS

# The tables that can be browsed: the name of the view, and the table of its stage.
TABLES = {
    "raw_warc": "captures",
    "filtered_urls": "urls",
    "text_statistics": "statistics",
    "reject_ledger": "rejects",
    **{stage: "text" for stage in STAGES if stage != "filtered_urls"},
    "duplicate_clusters": "clusters",
}
JUDGED = "language_filtered_text"  # the stage whose pages the quality rules judge
_OTHER_STAGES = {"duplicate_clusters": "deduplicated_text"}


class CorpusError(ValueError):
    """A question that cannot be answered; the message says why."""


def named_crawls(workspace: Workspace, names: Sequence[str]) -> list[str]:
    """The crawls of these names, each once, or all that the recipe reads.

    Raises CorpusError for a name that is no crawl's.
    """
    known = workspace.recipe.sources()
    for name in names:
        if name not in known:
            raise CorpusError(f"no crawl {name[:100]!r}; available: {', '.join(sorted(known))}")
    return list(dict.fromkeys(names)) or workspace.recipe.corpus()


def tables(workspace: Workspace, crawls: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view over the crawls for each of TABLES, except for stages that are not built."""
    connection = connect()
    resolver = workspace.resolver()
    for view, table in TABLES.items():
        artifacts = [resolver.resolve(_OTHER_STAGES.get(view, view), crawl).artifact for crawl in crawls]
        files = [path for artifact in artifacts if artifact is not None for path in artifact.table(table)]
        if files:
            quoted = ", ".join("'" + file_pattern(file).replace("'", "''") + "'" for file in files)
            connection.execute(
                f"CREATE VIEW {view} AS SELECT * FROM read_parquet([{quoted}], hive_partitioning = false)"
            )
    return connection


def run_sql(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> pl.DataFrame:
    """The rows that a statement returns. Raises CorpusError with DuckDB's message."""
    try:
        return connection.sql(sql, params=parameters or {}).pl()
    except (duckdb.Error, AttributeError) as error:
        raise CorpusError(str(error) if isinstance(error, duckdb.Error) else "the statement returns no rows") from error


def browse(
    connection: duckdb.DuckDBPyConnection, table: str, where: str | None, order: str | None, limit: int, offset: int
) -> pl.DataFrame:
    """Rows of one table that meet the SQL condition `where`, in file order or in that of the SQL columns `order`."""
    if table not in TABLES:
        raise CorpusError(f"no table {table!r}; choose one of {', '.join(TABLES)}")
    condition = f" WHERE {where}" if where else ""
    sorting = f" ORDER BY {order}" if order else ""
    return run_sql(connection, f"SELECT * FROM {table}{condition}{sorting} LIMIT {int(limit)} OFFSET {int(offset)}")


@dataclass
class Answer:
    """What became of one capture of a URL, and the quality rules that it breaks with the measured values."""

    capture: dict[str, Any]
    reject: dict[str, Any] | None
    page: dict[str, Any] | None
    broken_rules: list[tuple[Rule, float]]
    cluster: list[dict[str, Any]]


def why(workspace: Workspace, url: str, crawls: Sequence[str]) -> list[Answer]:
    """What became of every capture of a URL.

    Captures are found by the exact URL or, if there are none, by the URL without scheme, "www." and a final slash.
    Raises CorpusError, with the most similar URLs, if no crawl has captured it, and NotBuilt without a reject ledger.
    """
    resolver = workspace.resolver()
    if not any(resolver.resolve("raw_warc", crawl).artifact for crawl in crawls):
        raise CorpusError(f"none of the crawls {', '.join(crawls) or 'of the recipe'} is built; run: llm-assets run")
    if not any(resolver.resolve("reject_ledger", crawl).artifact for crawl in crawls):
        resolver.artifact("reject_ledger", crawls[0])
    connection = tables(workspace, crawls)
    captures = run_sql(connection, statement("captures_of_url"), {"url": url})
    if captures.is_empty():
        captures = run_sql(connection, statement("captures_of_address"), {"url": url})
    if captures.is_empty():
        nearest = run_sql(connection, statement("nearest_urls"), {"url": url[:500]})["url"]
        raise CorpusError(
            f"{url} is in none of the crawls {', '.join(crawls)}; the most similar URLs: {', '.join(nearest)}"
        )
    rules = workspace.recipe.quality.effective()
    return [_answer(connection, capture, rules) for capture in captures.iter_rows(named=True)]


def answer_at(workspace: Workspace, crawl: str, file: str, offset: int) -> Answer:
    """What became of the capture at one place. Raises CorpusError if there is none, and NotBuilt without a ledger."""
    workspace.resolver().artifact("reject_ledger", crawl)
    connection = tables(workspace, [crawl])
    place = {"crawl": crawl, "file": file, "at": offset}
    captures = run_sql(connection, statement("capture_at"), place)
    if captures.is_empty():
        raise CorpusError(f"crawl {crawl!r} has no capture at {offset:,} of {file!r}")
    return _answer(connection, captures.row(0, named=True), workspace.recipe.quality.effective())


def _answer(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], rules: Sequence[Rule]) -> Answer:
    place = {"crawl": capture["crawl"], "file": capture["warc_file"], "at": capture["warc_offset"]}
    reject, page, cluster, statistics = (
        run_sql(connection, statement(f"{subject}_of_capture"), place)
        for subject in ("reject", "page", "cluster", "statistics")
    )
    broken_rules = [
        (rule, row[rule.column])
        for row in statistics.to_dicts()
        for rule in rules
        if statistics.select(breaks(rule)).item()
    ]
    return Answer(
        capture=capture,
        reject=next(reject.iter_rows(named=True), None),
        page=next(page.iter_rows(named=True), None),
        broken_rules=broken_rules,
        cluster=cluster.to_dicts(),
    )


def versions_of(workspace: Workspace, url: str) -> list[dict[str, Any]]:
    """The versions of a page over all crawls (rows of PageVersions), oldest first; none if they are not built."""
    artifact = workspace.resolver().resolve(PAGE_VERSIONS.name, None).artifact
    if artifact is None:
        return []
    versions = [scan_table(path).filter(pl.col("url") == url) for path in artifact.table("versions")]
    return pl.concat(versions).sort("version").collect().to_dicts() if versions else []


def statistics_of(workspace: Workspace, crawls: Iterable[str]) -> pl.DataFrame:
    """Pages with their statistics, without their text. Builds `text_statistics` if nothing else is missing."""
    names = list(crawls)
    for crawl in names:
        if workspace.resolver().resolve(TEXT_STATISTICS.name, crawl).artifact is None:
            for name, partition in (("quality_classifier", None), (TEXT_STATISTICS.name, crawl)):
                materialize(workspace.graph[name], partition, workspace)
    return built_statistics(workspace, names)


def built_statistics(workspace: Workspace, crawls: Sequence[str]) -> pl.DataFrame:
    """Pages with their statistics, without their text. Raises NotBuilt."""
    resolver, frames = workspace.resolver(), []
    for crawl in crawls:
        texts = resolver.artifact(JUDGED, crawl)
        statistics = {path.stem: path for path in resolver.artifact(TEXT_STATISTICS.name, crawl).table("statistics")}
        for path in texts.table("text"):
            frames += pages_with_statistics(path, statistics[path.stem], with_text=False)
    if not frames:
        raise CorpusError(f"none of the crawls {', '.join(crawls)} has a page that the quality rules judge")
    return pl.concat(frames)


def changed_rules(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with thresholds from settings ``rule=value``; ``rule=off`` switches a rule off. Raises CorpusError."""
    thresholds: dict[str, float | None] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        try:
            thresholds[name.strip()] = None if value.strip() in ("off", "none") else float(value)
        except ValueError:
            raise CorpusError(f"--set {setting}: give rule=number or rule=off") from None
        if not equals:
            raise CorpusError(f"--set {setting}: give rule=number or rule=off")
    return with_thresholds(recipe, thresholds)


def with_thresholds(recipe: Recipe, thresholds: Mapping[str, float | None]) -> Recipe:
    """The recipe with other thresholds, by rule; None switches a rule off. Raises CorpusError."""
    changed = {**recipe.quality.thresholds, **thresholds}
    try:
        return recipe.replace(quality=recipe.quality.replace(thresholds=changed))
    except ValidationError as error:
        problems = [problem["msg"].removeprefix("Value error, ") for problem in error.errors()]
        raise CorpusError("; ".join(problems)) from error


def compare(
    before: pl.DataFrame, rules: Sequence[Rule], after: pl.DataFrame, other_rules: Sequence[Rule]
) -> pl.DataFrame:
    """One row per page: the rule that rejects it under either set of rules, and the value that decided.

    Columns: `rule` and `value` by `rules` on `before`, `other_rule` and `other_value` by `other_rules` on `after`; null
    for a page that is kept. Both frames hold the same pages in the same order; they are the same frame if only
    thresholds differ.
    """
    verdicts = [_verdicts(before, rules, ""), _verdicts(after, other_rules, "other_")]
    return pl.concat([before.select("crawl", "url", "warc_file", "warc_offset"), *verdicts], how="horizontal")


def _verdicts(statistics: pl.DataFrame, rules: Sequence[Rule], prefix: str) -> pl.DataFrame:
    """The first rule that each page breaks, and the measured value with the threshold, as text."""
    judged = statistics.with_columns(rule=verdict(rules))
    thresholds = {rule.name: f"({rule.drops.replace('_', ' ')} {format_number(rule.threshold)})" for rule in rules}
    values = [
        None if name is None else f"{format_number(value)} {thresholds[name]}"
        for name, value in judged.select("rule", value=measured_value(rules)).iter_rows()
    ]
    return pl.DataFrame({f"{prefix}rule": judged["rule"], f"{prefix}value": pl.Series(values, dtype=pl.String)})


def what_if(workspace: Workspace, settings: Sequence[str], crawls: Sequence[str]) -> pl.DataFrame:
    """`compare` the recipe's rules with the same rules under other thresholds. Only the verdicts are computed."""
    changed = changed_rules(workspace.recipe, settings)
    statistics = statistics_of(workspace, crawls)
    return compare(statistics, workspace.recipe.quality.effective(), statistics, changed.quality.effective())


def diff_recipes(workspace: Workspace, first: str, second: str, crawls: Sequence[str]) -> pl.DataFrame:
    """`compare` two pinned sets of rules, each on its own statistics, which are built and cached if missing."""
    sides = []
    for name in (first, second):
        recipe = workspace.recipe.with_quality_rules(name)
        sides.append((statistics_of(with_fields(workspace, recipe=recipe), crawls), recipe.quality.effective()))
    return compare(sides[0][0], sides[0][1], sides[1][0], sides[1][1])


def texts_of(workspace: Workspace, pages: pl.DataFrame) -> dict[tuple[str, str, int], str]:
    """Texts of pages by crawl, WARC file and offset (columns of `pages`), as the quality rules read them."""
    texts: dict[tuple[str, str, int], str] = {}
    for (crawl,), of_crawl in pages.group_by("crawl"):
        artifact: Artifact = workspace.resolver().artifact(JUDGED, str(crawl))
        for path in artifact.table("text"):
            offsets = of_crawl.filter(pl.col("warc_file") == path.stem)["warc_offset"]
            if len(offsets):
                in_file = scan_table(path).filter(pl.col("warc_offset").is_in(offsets.implode()))
                rows = in_file.select("warc_offset", "text").collect()
                texts.update({(str(crawl), path.stem, offset): text for offset, text in rows.iter_rows()})
    return texts
