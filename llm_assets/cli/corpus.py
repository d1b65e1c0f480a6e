"""``llm-assets corpus``: why a page went, what another threshold would do, what is in the corpus."""

from __future__ import annotations

import contextlib
from typing import Any

import click
import polars as pl

from llm_assets.artifacts import ArtifactError, Workspace
from llm_assets.curation import corpus as questions
from llm_assets.curation.corpus_report import REPORT
from llm_assets.curation.personal_data import KINDS, scrub_for_display
from llm_assets.curation.quality import format_number
from llm_assets.graph import open_workspace
from llm_assets.recipes import QUALITY_RULES
from llm_assets.web.last_try import not_fetched

from .options import recipe_option

_CRAWLS = click.option("--crawl", "crawls", multiple=True, help="Only this crawl (may be given several times).")
SNIPPET = 300


@click.group()
def corpus() -> None:
    """The corpus: look into it, and ask why it is as it is."""


def _open(recipe: str | None, crawls: tuple[str, ...]) -> tuple[Workspace, list[str]]:
    workspace = open_workspace(recipe)
    known = workspace.recipe.sources()
    for crawl in crawls:
        if crawl not in known:
            raise questions.CorpusError(f"no crawl {crawl!r}; there are {', '.join(sorted(known))}")
    return workspace, list(crawls) or workspace.recipe.corpus()


def _open_judged(recipe: str | None, crawls: tuple[str, ...]) -> tuple[Workspace, list[str]]:
    """The crawls that the quality rules can judge: those named, else the recipe's that are built, else any that is.

    Raises CorpusError where none is built.
    """
    workspace, names = _open(recipe, crawls)
    if crawls:
        return workspace, names
    resolver, built = workspace.resolver(), []
    for name in sorted(workspace.recipe.sources()):
        with contextlib.suppress(ArtifactError):  # a source that is out of reach
            if resolver.resolve(questions.JUDGED, name).artifact is not None:
                built.append(name)
    if not built:
        command = f"llm-assets run --select '*{questions.JUDGED}'"
        raise questions.CorpusError(f"no crawl of recipe {workspace.recipe.name!r} is built; run: {command}")
    own = [name for name in built if name in names]
    if not own:
        click.echo(f"no crawl of recipe {workspace.recipe.name!r} is built; judged is {', '.join(built)}", err=True)
    return workspace, own or built


def _snippet(text: str) -> str:
    line = " ⏎ ".join(part.strip() for part in text.splitlines() if part.strip())
    return line if len(line) <= SNIPPET else f"{line[:SNIPPET]} …"


@corpus.command()
@click.argument("url")
@_CRAWLS
@recipe_option
def why(url: str, crawls: tuple[str, ...], recipe: str | None) -> None:
    """Where a page went: the stage and rule, the measured value, the threshold."""
    workspace, names = _open(recipe, crawls)
    failures = not_fetched(workspace, url, list(crawls) or sorted(workspace.recipe.sources()))
    try:
        answers = questions.why(workspace, url, names)
    except questions.CorpusError:
        if not failures:
            raise
        answers = []
    for failure in failures:
        click.secho(failure.url, bold=True)
        when = f", whose last try failed at {failure.at}" if failure.at else ""
        click.secho(f"  not fetched by crawl {failure.crawl}{when}: {failure.reason} ({failure.detail})", fg="red")
    versions = {url: questions.versions_of(workspace, url) for url in {answer.capture["url"] for answer in answers}}
    for answer in answers:
        capture = answer.capture
        click.secho(f"{capture['url']}", bold=True)
        click.echo(
            f"  crawl {capture['crawl']}, {capture['warc_file']} at {capture['warc_offset']:,}, fetched {capture['fetched_at']}, status {capture['status']}, {capture['mime'] or 'no media type'}"
        )
        if answer.reject:
            against = f" against {answer.reject['threshold']}" if answer.reject["threshold"] else ""
            value = f": {answer.reject['value']}{against}" if answer.reject["value"] else ""
            click.secho(f"  rejected by {answer.reject['stage']}, rule {answer.reject['rule']}{value}", fg="red")
        elif answer.page:
            found = ", ".join(f"{answer.page[kind]} {kind}" for kind in KINDS if answer.page[kind])
            problem = _why_not_current(capture, versions[capture["url"]])
            if problem:
                click.secho(f"  kept by every rule, and no longer read: {problem}", fg="yellow")
            else:
                click.secho(
                    f"  in the corpus: {answer.page['words']:,} words, {answer.page['language']} {answer.page['language_score']:.4f}{f', replaced: {found}' if found else ''}",
                    fg="green",
                )
        else:
            click.secho("  neither kept nor rejected: its crawl is not built to the end; llm-assets run", fg="yellow")
        for rule, value in answer.broken_rules:
            click.echo(
                f"    breaks {rule.name}: {format_number(value)} is {rule.drops.replace('_', ' ')} {format_number(rule.threshold)} ({rule.source})"
            )
        for member in answer.cluster:
            click.echo(f"    duplicate cluster of {member['size']}: {member['relation']:5} {member['url']}")
    for page, of_page in sorted(versions.items()):
        _tell_versions(page, of_page)


def _why_not_current(capture: dict[str, Any], versions: list[dict[str, Any]]) -> str:
    """Why a capture that the corpus holds is not what is searched, reported and trained on; empty where it is."""
    if not versions:
        return ""
    place = ("crawl", "warc_file", "warc_offset")
    for version in versions:
        if all(version[name] == capture[name] for name in place):
            return "" if version["state"] == "current" else _state(version)
    read = any(version["state"] == "current" and version["in_corpus"] for version in versions)
    return "its text is that of another capture, which counts" if read else ""


def _state(version: dict[str, Any]) -> str:
    since = f" since crawl {version['ended_by']}" if version["ended_by"] else ""
    to = f" to {version['moved_to']}" if version["moved_to"] else ""
    return f"{version['state'].replace('_', ' ')}{to}{since}"


def _tell_versions(url: str, versions: list[dict[str, Any]]) -> None:
    """What became of a page over the crawls, a line for each of its texts."""
    if len(versions) > 1 or any(version["captures"] > 1 or version["state"] != "current" for version in versions):
        click.secho(f"{url} over time", bold=True)
        for version in versions:
            seen = f"seen {version['captures']} times, {version['first_seen']} to {version['last_seen']}"
            once = f"seen once, {version['first_seen']}"
            where = f"first in crawl {version['crawl']}, last in {version['last_crawl']}"
            click.echo(
                f"  text {version['version']}: {_state(version)}; {seen if version['captures'] > 1 else once}; {where}"
            )


def _verdicts(table: pl.DataFrame, first: str, second: str) -> None:
    """Kept and dropped under both, by rule, and how many flip."""
    kept, other = table["rule"].null_count(), table["other_rule"].null_count()
    click.echo(f"{len(table):,} pages")
    click.echo(f"  {first:24} {kept:>9,} kept  {len(table) - kept:>9,} dropped")
    click.echo(f"  {second:24} {other:>9,} kept  {len(table) - other:>9,} dropped")
    counts = [dict(table[column].drop_nulls().value_counts().iter_rows()) for column in ("rule", "other_rule")]
    names = sorted(
        {*counts[0], *counts[1]}, key=lambda name: (-max(counts[0].get(name, 0), counts[1].get(name, 0)), name)
    )
    for name in names:
        change = counts[1].get(name, 0) - counts[0].get(name, 0)
        click.echo(
            f"    {name:34} {counts[0].get(name, 0):>8,} {counts[1].get(name, 0):>8,}{f'  {change:+,}' if change else ''}"
        )


def _flips(workspace: Workspace, table: pl.DataFrame, samples: int) -> None:
    flipped = table.filter(pl.col("rule").is_null() != pl.col("other_rule").is_null())
    click.echo(f"{len(flipped):,} pages flip ({len(flipped) / max(len(table), 1):.2%})")
    for title, column, value, group in (
        ("kept before, dropped now", "other_rule", "other_value", flipped.filter(pl.col("rule").is_null())),
        ("dropped before, kept now", "rule", "value", flipped.filter(pl.col("other_rule").is_null())),
    ):
        if group.is_empty():
            continue
        click.secho(f"{title}: {len(group):,}", bold=True)
        for name, pages in group[column].value_counts().sort("count", column, descending=[True, False]).iter_rows():
            click.echo(f"  {name}: {pages:,}")
        shown = group.sort(pl.col("url").hash(seed=1), "url", "crawl", "warc_offset").head(samples)
        texts = questions.texts_of(workspace, shown)
        scrubbed = scrub_for_display(pl.DataFrame({"text": list(texts.values())}, schema={"text": pl.String}))["text"]
        texts = dict(zip(texts, scrubbed, strict=True))
        for row in shown.iter_rows(named=True):
            click.echo(
                f"  {row['url']}\n    {row[column]}: {row[value]}\n    {_snippet(texts[row['crawl'], row['warc_file'], row['warc_offset']])}"
            )


@corpus.command("what-if")
@click.option(
    "--set", "settings", multiple=True, required=True, metavar="RULE=VALUE", help="Another threshold, or RULE=off."
)
@click.option("--samples", default=3, show_default=True, help="Pages that flip to show, each way.")
@_CRAWLS
@recipe_option
def what_if(settings: tuple[str, ...], samples: int, crawls: tuple[str, ...], recipe: str | None) -> None:
    """What other thresholds of the quality rules would keep and drop. Nothing is rebuilt."""
    workspace, names = _open_judged(recipe, crawls)
    table = questions.what_if(workspace, settings, names)
    _verdicts(table, "today", ", ".join(settings))
    _flips(workspace, table, samples)


@corpus.command("diff-recipes")
@click.argument("first", type=click.Choice(list(QUALITY_RULES)))
@click.argument("second", type=click.Choice(list(QUALITY_RULES)))
@click.option("--samples", default=3, show_default=True, help="Pages that flip to show, each way.")
@_CRAWLS
@recipe_option
def diff_recipes(first: str, second: str, samples: int, crawls: tuple[str, ...], recipe: str | None) -> None:
    """Which pages two pinned sets of quality rules judge differently, and why."""
    workspace, names = _open_judged(recipe, crawls)
    table = questions.diff_recipes(workspace, first, second, names)
    _verdicts(table, first, second)
    _flips(workspace, table, samples)


@corpus.command()
@click.option("--table", default="clean_corpus", show_default=True, help=f"One of {', '.join(questions.TABLES)}.")
@click.option(
    "--where", default=None, help="A condition in SQL, such as \"host = 'example.org' AND length(text) > 1000\"."
)
@click.option("--order", default=None, help="Columns to sort by, in SQL.")
@click.option("--limit", default=10, show_default=True)
@click.option("--offset", default=0, show_default=True)
@click.option("--full", is_flag=True, help="Whole texts, not their beginnings.")
@click.option("--sql", default=None, help="A whole DuckDB statement over these tables instead.")
@_CRAWLS
@recipe_option
def browse(
    table: str,
    where: str | None,
    order: str | None,
    limit: int,
    offset: int,
    full: bool,
    sql: str | None,
    crawls: tuple[str, ...],
    recipe: str | None,
) -> None:
    """Page through documents, with a filter in DuckDB SQL."""
    workspace, names = _open(recipe, crawls)
    connection = questions.tables(workspace, names)
    rows = (
        questions.run_sql(connection, sql) if sql else questions.browse(connection, table, where, order, limit, offset)
    )
    if sql or "text" not in rows.columns:
        with pl.Config(
            tbl_rows=max(len(rows), 1),
            tbl_cols=-1,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
            fmt_str_lengths=10_000 if full else 100,
            tbl_width_chars=200,
        ):
            click.echo_via_pager(f"{rows}\n{len(rows):,} rows\n")
        return
    pieces = []
    for row in rows.iter_rows(named=True):
        pieces.append(
            click.style(row["url"], bold=True)
            + f"\n{row['crawl']} · {row['fetched_at']} · {len(row['text']):,} characters · {row['title']}\n"
        )
        pieces.append((row["text"] if full else _snippet(row["text"])) + "\n\n")
    click.echo_via_pager(iter([*pieces, f"{len(rows):,} documents from {offset:,}\n"]))


@corpus.command()
@recipe_option
def report(recipe: str | None) -> None:
    """Where the report (one HTML file) lies."""
    workspace = open_workspace(recipe)
    click.echo(str(workspace.resolver().artifact("corpus_report", None).view(REPORT)))
