"""Questions to a corpus: why a page went, what another threshold would do, how two sets of rules differ, what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Any

import duckdb
import polars as pl
from pydantic import ValidationError

from llm_assets.artifacts import Workspace, materialize
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import Recipe, Rule
from llm_assets.sql import connect, statement

from .ledger import STAGES
from .page_versions import PAGE_VERSIONS
from .quality import breaks, format_number, joined, measured, verdict
from .text_statistics import TEXT_STATISTICS

# What can be browsed: stage → its main table.
TABLES = {
    "raw_warc": "captures",
    "filtered_urls": "urls",
    "text_statistics": "statistics",
    "reject_ledger": "rejects",
    **{stage: "text" for stage in STAGES if stage != "filtered_urls"},
    "duplicate_clusters": "clusters",
}
JUDGED = "language_filtered_text"  # whose pages the quality rules judge
_STAGE_OF = {"duplicate_clusters": "deduplicated_text"}


class CorpusError(ValueError):
    """A question that cannot be answered as it was put."""


def tables(workspace: Workspace, crawls: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with one view for each of TABLES over the crawls; stages that are not built have none."""
    connection = connect()
    resolver = workspace.resolver()
    for view, table in TABLES.items():
        found = [resolver.resolve(_STAGE_OF.get(view, view), crawl).artifact for crawl in crawls]
        paths = [str(path) for artifact in found if artifact is not None for path in artifact.table(table)]
        if paths:
            listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            connection.execute(f"CREATE VIEW {view} AS SELECT * FROM read_parquet([{listed}])")
    return connection


def run_sql(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> pl.DataFrame:
    """The rows of a statement. Raises CorpusError with DuckDB's message."""
    try:
        return connection.sql(sql, params=parameters or {}).pl()
    except (duckdb.Error, AttributeError) as error:
        raise CorpusError(str(error) if isinstance(error, duckdb.Error) else "the statement gives no rows") from error


def browse(
    connection: duckdb.DuckDBPyConnection, table: str, where: str | None, order: str | None, limit: int, offset: int
) -> pl.DataFrame:
    """Rows of one table, in file order unless `order` says otherwise."""
    if table not in TABLES:
        raise CorpusError(f"no table {table!r}; there are {', '.join(TABLES)}")
    return run_sql(
        connection,
        f"SELECT * FROM {table}{f' WHERE {where}' if where else ''}{f' ORDER BY {order}' if order else ''} LIMIT {int(limit)} OFFSET {int(offset)}",
    )


@dataclass
class Answer:
    """Where one capture of a URL went."""

    capture: dict[str, Any]
    reject: dict[str, Any] | None
    page: dict[str, Any] | None
    broken_rules: list[tuple[Rule, float]]
    cluster: list[dict[str, Any]]


def why(workspace: Workspace, url: str, crawls: Sequence[str]) -> list[Answer]:
    """What became of every capture of a URL. Raises CorpusError where no crawl has it, with near misses.

    A capture is found by its exact URL; failing that by the URL without scheme, "www." and a closing slash.
    """
    if not any(workspace.resolver().resolve("raw_warc", crawl).artifact for crawl in crawls):
        raise CorpusError(f"none of the crawls {', '.join(crawls) or 'of the recipe'} is built; run: llm-assets run")
    connection = tables(workspace, crawls)
    captures = run_sql(connection, statement("captures_of_url"), {"url": url})
    if captures.is_empty():
        captures = run_sql(connection, statement("captures_of_address"), {"url": url})
    if captures.is_empty():
        near = run_sql(connection, statement("nearest_urls"), {"url": url[:500]})
        raise CorpusError(f"{url} is in none of the crawls {', '.join(crawls)}; the nearest: {', '.join(near['url'])}")
    answers = []
    for capture in captures.iter_rows(named=True):
        place = {"crawl": capture["crawl"], "file": capture["warc_file"], "at": capture["warc_offset"]}
        reject, page, cluster = (
            run_sql(connection, statement(f"{what}_of_capture"), place).to_dicts()
            for what in ("reject", "page", "cluster")
        )
        statistics = run_sql(connection, statement("statistics_of_capture"), place)
        broken = [
            (rule, row[rule.column])
            for row in statistics.to_dicts()
            for rule in workspace.recipe.quality.effective()
            if statistics.select(breaks(rule)).item()
        ]
        answers.append(Answer(capture, reject[0] if reject else None, page[0] if page else None, broken, cluster))
    return answers


def versions_of(workspace: Workspace, url: str) -> list[dict[str, Any]]:
    """The versions of a page over all crawls (rows of PageVersions), oldest first; none where they are not built."""
    versions = workspace.resolver().resolve(PAGE_VERSIONS.name, None).artifact
    if versions is None:
        return []
    found = [pl.scan_parquet(path).filter(pl.col("url") == url) for path in versions.table("versions")]
    return pl.concat(found).sort("version").collect().to_dicts() if found else []


def statistics_of(workspace: Workspace, crawls: Iterable[str]) -> pl.DataFrame:
    """Pages with their statistics, without their text. Builds `text_statistics` where only that is missing."""
    frames = []
    for crawl in crawls:
        if workspace.resolver().resolve(TEXT_STATISTICS.name, crawl).artifact is None:
            for name, partition in (("quality_classifier", None), (TEXT_STATISTICS.name, crawl)):
                materialize(workspace.graph[name], partition, workspace)
        resolver = workspace.resolver()
        texts = resolver.artifact(JUDGED, crawl)
        statistics = {path.stem: path for path in resolver.artifact(TEXT_STATISTICS.name, crawl).table("statistics")}
        frames += [
            frame for path in texts.table("text") for frame in joined(path, statistics[path.stem], with_text=False)
        ]
    return pl.concat(frames)


def changed_rules(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with thresholds from ``rule=value`` (``rule=off`` switches one off). Raises CorpusError."""
    thresholds = dict(recipe.quality.thresholds)
    for setting in settings:
        name, equals, value = setting.partition("=")
        try:
            thresholds[name.strip()] = None if value.strip() in ("off", "none") else float(value)
        except ValueError:
            raise CorpusError(f"--set {setting}: give rule=number or rule=off") from None
        if not equals:
            raise CorpusError(f"--set {setting}: give rule=number or rule=off")
    try:
        return recipe.replace(quality=recipe.quality.replace(thresholds=thresholds))
    except ValidationError as error:
        raise CorpusError(
            "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        ) from error


def compare(
    before: pl.DataFrame, rules: Sequence[Rule], after: pl.DataFrame, other_rules: Sequence[Rule]
) -> pl.DataFrame:
    """One row a page: its rule under either set (`rule`, `other_rule`; null is kept) and the values that decided.

    `before` and `after` hold the same pages in the same order (the same frame, where only thresholds differ).
    """
    sides = []
    for frame, chosen, prefix in ((before, rules, ""), (after, other_rules, "other_")):
        judged = frame.with_columns(rule=verdict(chosen))
        by_name = {rule.name: rule for rule in chosen}
        values = [
            None
            if name is None
            else f"{format_number(value)} ({by_name[name].drops.replace('_', ' ')} {format_number(by_name[name].threshold)})"
            for name, value in judged.select("rule", value=measured(chosen)).iter_rows()
        ]
        sides.append(
            pl.DataFrame({f"{prefix}rule": judged["rule"], f"{prefix}value": pl.Series(values, dtype=pl.String)})
        )
    return pl.concat([before.select("crawl", "url", "warc_file", "warc_offset"), *sides], how="horizontal")


def what_if(workspace: Workspace, settings: Sequence[str], crawls: Sequence[str]) -> pl.DataFrame:
    """`compare` of the recipe's rules with the same rules under other thresholds: nothing is computed but the verdict."""
    changed = changed_rules(workspace.recipe, settings)
    statistics = statistics_of(workspace, crawls)
    return compare(statistics, workspace.recipe.quality.effective(), statistics, changed.quality.effective())


def diff_recipes(workspace: Workspace, first: str, second: str, crawls: Sequence[str]) -> pl.DataFrame:
    """`compare` of two pinned sets of rules, each over its own statistics (built and cached where missing)."""
    sides = []
    for name in (first, second):
        recipe = workspace.recipe.with_quality_rules(name)
        sides.append((statistics_of(with_fields(workspace, recipe=recipe), crawls), recipe.quality.effective()))
    return compare(sides[0][0], sides[0][1], sides[1][0], sides[1][1])


def texts_of(workspace: Workspace, pages: pl.DataFrame) -> dict[tuple[str, str, int], str]:
    """Texts of pages (columns crawl, warc_file, warc_offset) as they came to the quality rules."""
    found: dict[tuple[str, str, int], str] = {}
    for (crawl,), group in pages.group_by("crawl"):
        texts: Artifact = workspace.resolver().artifact(JUDGED, str(crawl))
        for path in texts.table("text"):
            wanted = group.filter(pl.col("warc_file") == path.stem)
            if len(wanted):
                rows = (
                    pl.scan_parquet(path)
                    .filter(pl.col("warc_offset").is_in(wanted["warc_offset"].implode()))
                    .select("warc_offset", "text")
                    .collect()
                )
                found.update({(str(crawl), path.stem, offset): text for offset, text in rows.iter_rows()})
    return found
