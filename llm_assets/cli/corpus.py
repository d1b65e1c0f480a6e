"""``llm-assets corpus``: why a page was dropped, what other thresholds would do, what the corpus contains."""

from __future__ import annotations

import contextlib
from typing import Any

import click
import polars as pl

from llm_assets.artifacts import ArtifactError, Workspace
from llm_assets.curation import corpus as questions
from llm_assets.curation.corpus_report import REPORT
from llm_assets.curation.personal_data import KINDS
from llm_assets.curation.quality import format_number
from llm_assets.curation.verdicts import changed_pages, rule_counts, sample_pages
from llm_assets.graph import open_workspace
from llm_assets.recipes import QUALITY_RULES
from llm_assets.row_files import ENDINGS
from llm_assets.web.last_try import not_fetched

from .options import recipe_option

_crawl_option = click.option("--crawl", "crawls", multiple=True, help="Only this crawl; repeatable.")
_samples_option = click.option(
    "--samples", default=3, show_default=True, help="Number of changed pages to show, in each direction."
)
SNIPPET = 300  # characters of a text that are shown
CELL = 100  # characters of a cell that are shown
CELL_IN_FULL = 10_000


@click.group()
def corpus() -> None:
    """Inspect the corpus and explain what the filters did."""


def _open(recipe: str | None, crawls: tuple[str, ...]) -> tuple[Workspace, list[str]]:
    """The workspace, and the crawls of these names, or all that the recipe reads. Raises CorpusError."""
    workspace = open_workspace(recipe)
    return workspace, questions.named_crawls(workspace, crawls)


def _open_judged(recipe: str | None, crawls: tuple[str, ...]) -> tuple[Workspace, list[str]]:
    """The workspace, and crawls whose pages the quality rules can judge.

    These are the named crawls, or else the recipe's that are built, or else any that is built. Raises CorpusError if
    none is.
    """
    workspace, names = _open(recipe, crawls)
    if crawls:
        return workspace, names
    resolver, built = workspace.resolver(), []
    for name in sorted(workspace.recipe.sources()):
        with contextlib.suppress(ArtifactError):  # the source cannot be reached
            if resolver.resolve(questions.JUDGED, name).artifact is not None:
                built.append(name)
    if not built:
        command = f"llm-assets run --select '*{questions.JUDGED}'"
        raise questions.CorpusError(f"no crawl of recipe {workspace.recipe.name!r} is built; run: {command}")
    of_recipe = [name for name in built if name in names]
    if not of_recipe:
        click.echo(f"no crawl of recipe {workspace.recipe.name!r} is built; using {', '.join(built)}", err=True)
    return workspace, of_recipe or built


def _snippet(text: str) -> str:
    line = " ⏎ ".join(part.strip() for part in text.splitlines() if part.strip())
    return line if len(line) <= SNIPPET else f"{line[:SNIPPET]} …"


@corpus.command()
@click.argument("url")
@_crawl_option
@recipe_option
def why(url: str, crawls: tuple[str, ...], recipe: str | None) -> None:
    """Show what happened to the page at URL.

    If the page was dropped, shows the stage, the rule, the measured value and the threshold.
    """
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
    urls = {answer.capture["url"] for answer in answers}
    versions = {page: questions.versions_of(workspace, page) for page in urls}
    for answer in answers:
        _print_answer(answer, versions[answer.capture["url"]])
    for page, page_versions in sorted(versions.items()):
        _print_versions(page, page_versions)


def _print_answer(answer: questions.Answer, versions: list[dict[str, Any]]) -> None:
    """Print what happened to one capture."""
    capture = answer.capture
    click.secho(f"{capture['url']}", bold=True)
    if capture["warc_file"].endswith(ENDINGS):  # a row of a file of texts, which no server sent
        dated = f", dated {capture['fetched_at']}" if capture["fetched_at"] else ""
        click.echo(f"  crawl {capture['crawl']}, row {capture['warc_offset']:,} of {capture['warc_file']}{dated}")
    else:
        click.echo(
            f"  crawl {capture['crawl']}, {capture['warc_file']} at {capture['warc_offset']:,}, "
            f"fetched {capture['fetched_at']}, status {capture['status']}, {capture['mime'] or 'no media type'}"
        )
    if answer.reject:
        threshold = f" against {answer.reject['threshold']}" if answer.reject["threshold"] else ""
        value = f": {answer.reject['value']}{threshold}" if answer.reject["value"] else ""
        click.secho(f"  rejected by {answer.reject['stage']}, rule {answer.reject['rule']}{value}", fg="red")
    elif answer.page:
        _print_kept_page(answer.page, _why_not_current(capture, versions))
    else:
        click.secho("  neither kept nor rejected: its crawl is not completely built; run: llm-assets run", fg="yellow")
    for rule, value in answer.broken_rules:
        comparison = rule.drops.replace("_", " ")
        measured, threshold = format_number(value), format_number(rule.threshold)
        click.echo(f"    breaks {rule.name}: {measured} is {comparison} {threshold} ({rule.source})")
    for member in answer.cluster:
        click.echo(f"    duplicate cluster of {member['size']}: {member['relation']:5} {member['url']}")


def _print_kept_page(page: dict[str, Any], problem: str) -> None:
    if problem:
        click.secho(f"  kept by every rule, but no longer used: {problem}", fg="yellow")
        return
    replaced = ", ".join(f"{page[kind]} {kind}" for kind in KINDS if page[kind])
    click.secho(
        f"  in the corpus: {page['words']:,} words, {page['language']} {page['language_score']:.4f}"
        + (f", replaced: {replaced}" if replaced else ""),
        fg="green",
    )


def _why_not_current(capture: dict[str, Any], versions: list[dict[str, Any]]) -> str:
    """Why a capture of the corpus is not searched, reported and trained on; empty if it is."""
    if not versions:
        return ""
    place = ("crawl", "warc_file", "warc_offset")
    for version in versions:
        if all(version[name] == capture[name] for name in place):
            return "" if version["state"] == "current" else _state(version)
    is_read = any(version["state"] == "current" and version["in_corpus"] for version in versions)
    return "another capture with the same text is used" if is_read else ""


def _state(version: dict[str, Any]) -> str:
    since = f" since crawl {version['ended_by']}" if version["ended_by"] else ""
    to = f" to {version['moved_to']}" if version["moved_to"] else ""
    return f"{version['state'].replace('_', ' ')}{to}{since}"


def _print_versions(url: str, versions: list[dict[str, Any]]) -> None:
    """Print the history of a page over the crawls, one line for each of its texts, if it has a history."""
    if len(versions) == 1 and versions[0]["captures"] <= 1 and versions[0]["state"] == "current":
        return
    if versions:
        click.secho(f"{url} over time", bold=True)
    for version in versions:
        if version["captures"] > 1:
            seen = f"seen {version['captures']} times, {version['first_seen']} to {version['last_seen']}"
        else:
            seen = f"seen once, {version['first_seen']}"
        crawls = f"first in crawl {version['crawl']}, last in {version['last_crawl']}"
        click.echo(f"  text {version['version']}: {_state(version)}; {seen}; {crawls}")


def _print_verdicts(table: pl.DataFrame, first: str, second: str) -> None:
    """Print how many pages two sets of rules keep and drop, in total and by rule.

    table: a row per page with the rules that drop it, `rule` by the first set and `other_rule` by the second.
    """
    click.echo(f"{len(table):,} pages")
    for title, column in ((first, "rule"), (second, "other_rule")):
        kept_pages = table[column].null_count()
        click.echo(f"  {title:24} {kept_pages:>9,} kept  {len(table) - kept_pages:>9,} dropped")
    for count in rule_counts(table):
        change = count.after - count.before
        shown_change = f"  {change:+,}" if change else ""
        click.echo(f"    {count.rule:34} {count.before:>8,} {count.after:>8,}{shown_change}")


def _print_changed_pages(workspace: Workspace, table: pl.DataFrame, samples: int) -> None:
    """Print how many pages are kept by one set of rules only, and samples of them in each direction."""
    now_dropped, now_kept = changed_pages(table)
    changes = len(now_dropped) + len(now_kept)
    click.echo(f"{changes:,} pages change ({changes / max(len(table), 1):.2%})")
    _print_samples(workspace, "kept before, dropped now", now_dropped, ("other_rule", "other_value"), samples)
    _print_samples(workspace, "dropped before, kept now", now_kept, ("rule", "value"), samples)


def _print_samples(
    workspace: Workspace, title: str, pages: pl.DataFrame, columns: tuple[str, str], samples: int
) -> None:
    """Print a group of pages. columns: those of the rule that drops them, and of the value that it measured."""
    if pages.is_empty():
        return
    rule, value = columns
    click.secho(f"{title}: {len(pages):,}", bold=True)
    for name, count in pages[rule].value_counts().sort("count", rule, descending=[True, False]).iter_rows():
        click.echo(f"  {name}: {count:,}")
    for row in sample_pages(workspace, pages, samples):
        click.echo(f"  {row['url']}\n    {row[rule]}: {row[value]}\n    {_snippet(row['text'])}")


@corpus.command("what-if")
@click.option(
    "--set",
    "settings",
    multiple=True,
    required=True,
    metavar="RULE=VALUE",
    help="Threshold to try; RULE=off switches the rule off. Repeatable.",
)
@_samples_option
@_crawl_option
@recipe_option
def what_if(settings: tuple[str, ...], samples: int, crawls: tuple[str, ...], recipe: str | None) -> None:
    """Show what other quality thresholds would keep and drop.

    Nothing is rebuilt.
    """
    workspace, names = _open_judged(recipe, crawls)
    table = questions.what_if(workspace, settings, names)
    _print_verdicts(table, "today", ", ".join(settings))
    _print_changed_pages(workspace, table, samples)


@corpus.command("diff-recipes")
@click.argument("first", metavar="FIRST", type=click.Choice(list(QUALITY_RULES)))
@click.argument("second", metavar="SECOND", type=click.Choice(list(QUALITY_RULES)))
@_samples_option
@_crawl_option
@recipe_option
def diff_recipes(first: str, second: str, samples: int, crawls: tuple[str, ...], recipe: str | None) -> None:
    """Compare two published sets of quality rules, such as fineweb-2024 and fineweb-head.

    Shows which pages they judge differently.
    """
    workspace, names = _open_judged(recipe, crawls)
    table = questions.diff_recipes(workspace, first, second, names)
    _print_verdicts(table, first, second)
    _print_changed_pages(workspace, table, samples)


@corpus.command()
@click.option(
    "--table",
    default="clean_corpus",
    show_default=True,
    help=f"Table to browse: {', '.join(questions.TABLES)}.",
)
@click.option(
    "--where",
    default=None,
    help="Condition in SQL, such as \"host = 'example.org' AND length(text) > 1000\".",
)
@click.option("--order", default=None, help="Columns to sort by, in SQL.")
@click.option("--limit", default=10, show_default=True, help="Number of rows to show.")
@click.option("--offset", default=0, show_default=True, help="Number of rows to skip.")
@click.option("--full", is_flag=True, help="Show whole texts instead of their beginnings.")
@click.option("--sql", default=None, help="DuckDB statement over these tables, instead of the options above.")
@_crawl_option
@recipe_option
def browse(  # one parameter per option of the command
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
    """Page through documents, or the rows of a table."""
    workspace, names = _open(recipe, crawls)
    connection = questions.tables(workspace, names)
    rows = (
        questions.run_sql(connection, sql) if sql else questions.browse(connection, table, where, order, limit, offset)
    )
    if sql or "text" not in rows.columns:
        _page_table(rows, full)
    else:
        _page_documents(rows, full, offset)


def _page_table(rows: pl.DataFrame, full: bool) -> None:
    with pl.Config(
        tbl_rows=max(len(rows), 1),
        tbl_cols=-1,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        fmt_str_lengths=CELL_IN_FULL if full else CELL,
        tbl_width_chars=200,
    ):
        click.echo_via_pager(f"{rows}\n{len(rows):,} rows\n")


def _page_documents(rows: pl.DataFrame, full: bool, offset: int) -> None:
    pieces = []
    for row in rows.iter_rows(named=True):
        details = f"{row['crawl']} · {row['fetched_at']} · {len(row['text']):,} characters · {row['title']}"
        pieces.append(f"{click.style(row['url'], bold=True)}\n{details}\n")
        pieces.append((row["text"] if full else _snippet(row["text"])) + "\n\n")
    click.echo_via_pager(iter([*pieces, f"{len(rows):,} documents from {offset:,}\n"]))


@corpus.command()
@recipe_option
def report(recipe: str | None) -> None:
    """Print the path of the corpus report, an HTML file."""
    workspace = open_workspace(recipe)
    click.echo(str(workspace.resolver().artifact("corpus_report", None).view(REPORT)))
