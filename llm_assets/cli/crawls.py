"""``llm-assets crawls``: register, list, remove and fetch again crawls."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.store import Artifact
from llm_assets.graph import open_workspace
from llm_assets.recipes import (
    CommonCrawl,
    CommonCrawlIndex,
    RecipeError,
    SampleWeb,
    Texts,
    WarcFiles,
    WebCrawl,
    load_recipe,
    parse_source,
)
from llm_assets.recipes.load import describe
from llm_assets.settings import Settings, load_settings
from llm_assets.web.crawls import open_registry
from llm_assets.web.errors import SourceError
from llm_assets.web.last_try import failed_try
from llm_assets.web.raw_warc import source_of
from llm_assets.web.source_check import check_source
from llm_assets.web.warc_files import is_url

from .setup import open_instance, prepare_instance, register_partitions


@click.group()
def crawls() -> None:
    """Register crawls and manage them."""


# Options that are conditions on captures, with their fields.
_CONDITIONS = {
    "--domain": "domains",
    "--host": "hosts",
    "--prefix": "prefixes",
    "--language": "languages",
    "--mime": "mimes",
    "--status": "statuses",
    "--limit": "limit",
    "--sample": "sample",
}


@dataclass(frozen=True)
class SourceOptions:
    """The options of `crawls add` that name a source. Exactly one kind of source is given, or `since` alone."""

    warc: str | None
    texts: str | None
    copy: bool
    snapshot: str | None
    files: int | None
    paths: tuple[str, ...]
    base_url: str | None
    domains: tuple[str, ...]
    hosts: tuple[str, ...]
    prefixes: tuple[str, ...]
    languages: tuple[str, ...]
    mimes: tuple[str, ...]
    statuses: tuple[int, ...]
    limit: int | None
    sample: float | None
    seeds: tuple[str, ...]
    sample_web: bool
    since: str | None
    settings: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """The fields of the source. Raises UsageError, and SourceError if the earlier crawl cannot be continued."""
        fields = self._fields_of_kind()
        if self.since:
            fields["since"] = self.since
        for setting in self.settings:
            field, separator, value = setting.partition("=")
            if not separator:
                raise click.UsageError(f"--set {setting!r}: use FIELD=VALUE")
            fields[field] = value
        return fields

    def _fields_of_kind(self) -> dict[str, Any]:
        given = {
            "--warc": self.warc,
            "--texts": self.texts,
            "--common-crawl": self.snapshot,
            "--seed": self.seeds,
            "--sample-web": self.sample_web,
        }
        kinds = [option for option, value in given.items() if value]
        if not self.snapshot and (options := self._conditions()):
            raise click.UsageError(f"{', '.join(options)}: only with --common-crawl")
        if not kinds and self.since:
            return _source_of_crawl(self.since)
        if len(kinds) != 1:
            raise click.UsageError(f"give exactly one of {', '.join(given)} (got {', '.join(kinds) or 'none'})")
        if self.warc:
            is_url = "://" in self.warc
            path = self.warc if is_url else str(Path(self.warc).expanduser().absolute())
            return {"kind": "warc_files", "path": path, "copy_files": self.copy}
        if self.texts:
            return {"kind": "texts", "path": str(Path(self.texts).expanduser().absolute())}
        if self.snapshot:
            return self._fields_of_common_crawl(self.snapshot)
        return {"kind": "crawl", "seeds": self.seeds} if self.seeds else {"kind": "sample_web"}

    def _conditions(self) -> dict[str, Any]:
        """The given conditions on captures, by option; 0 is given too, and refused by the source."""
        values = {option: getattr(self, field) for option, field in _CONDITIONS.items()}
        return {option: value for option, value in values.items() if value is not None and value != ()}

    def _fields_of_common_crawl(self, snapshot: str) -> dict[str, Any]:
        """WARC files of a snapshot, or the captures that its index has for the given conditions."""
        names = CommonCrawlIndex.model_fields.keys() - CommonCrawl.model_fields.keys()
        conditions = {_CONDITIONS[option]: value for option, value in self._conditions().items()}
        searches_index = bool(conditions) or any(setting.partition("=")[0] in names for setting in self.settings)
        if searches_index and (self.paths or self.files is not None):
            raise click.UsageError("--files and --path take whole WARC files; they exclude conditions on captures")
        fields: dict[str, Any] = {"snapshot": snapshot} | ({"base_url": self.base_url} if self.base_url else {})
        if searches_index:
            return {"kind": "common_crawl_index", **fields, **conditions}
        files = 1 if self.files is None and not self.paths else self.files
        return {"kind": "common_crawl", **fields, "paths": self.paths, "files": files}


@crawls.command("add")
@click.argument("name")
@click.option("--warc", help="Read WARC files: a folder, a file, a glob pattern or a URL.")
@click.option(
    "--texts",
    help="Read texts, a document per row: a folder, a file or a glob pattern of JSONL or Parquet files, with FineWeb's "
    "columns. Name other columns with --set text_column=NAME.",
)
@click.option(
    "--copy", is_flag=True, help="With --warc: copy the files into the store, instead of reading them in place."
)
@click.option("--common-crawl", "snapshot", help="Read a Common Crawl snapshot, such as CC-MAIN-2026-43.")
@click.option(
    "--files", type=int, default=None, help="With --common-crawl: number of WARC files.  [default: 1, or all of --path]"
)
@click.option(
    "--path",
    "paths",
    multiple=True,
    help="With --common-crawl: entry of warc.paths.gz, or its number; repeatable.",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    help="With --common-crawl: take the pages of this domain and all hosts below it, found in the snapshot's index; "
    "repeatable.",
)
@click.option("--host", "hosts", multiple=True, help="With --common-crawl: take the pages of this host; repeatable.")
@click.option(
    "--prefix", "prefixes", multiple=True, help="With --common-crawl: take pages whose URL begins so; repeatable."
)
@click.option(
    "--language",
    "languages",
    multiple=True,
    help="With --common-crawl: take only pages whose main language is this one, such as en; repeatable.",
)
@click.option(
    "--mime", "mimes", multiple=True, help="With --common-crawl: take only pages of this media type; repeatable."
)
@click.option(
    "--status",
    "statuses",
    type=int,
    multiple=True,
    help="With --common-crawl: take only pages with this status, 200 to 299; repeatable.",
)
@click.option(
    "--limit", type=int, default=None, help="With --common-crawl: number of pages, the first in the index's order."
)
@click.option(
    "--sample", type=float, default=None, help="With --common-crawl: share of the pages, chosen by a digest of the URL."
)
@click.option("--base-url", default=None, help="With --common-crawl: URL under which crawl-data/ is found.")
@click.option("--seed", "seeds", multiple=True, help="Crawl the web from this URL; repeatable.")
@click.option("--sample-web", is_flag=True, help="Crawl the built-in sample web.")
@click.option(
    "--since",
    default=None,
    help="Continue this earlier crawl, which has to be a crawl from seeds or of the sample web. Without another "
    "source, takes over its source and settings.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Set any other field of the source, such as max_pages=500; repeatable.",
)
def add(name: str, **options: Any) -> None:
    """Register the crawl NAME with its source.

    Give one of --warc, --texts, --common-crawl, --seed and --sample-web, or --since alone.
    """
    source_options = SourceOptions(**options)
    try:
        source = parse_source(source_options.fields())
    except ValidationError as error:
        raise RecipeError(f"crawl {name}: {describe(error)}") from error
    settings, recipe = load_settings(), load_recipe()
    if name in recipe.crawls and recipe.crawls[name] != source:
        raise SourceError(f"crawl {name!r} is defined by the recipe {recipe.name!r} with another source")
    registry, since = open_registry(settings), source_options.since
    if since and since not in registry.effective(recipe).sources():
        raise SourceError(f"--since {since}: no such crawl")
    for warning in check_source(source):
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    is_new = registry.add(name, source)
    prepare_instance(settings)
    with open_instance() as instance:
        register_partitions([name], instance)
    click.echo(f"{'registered' if is_new else 'already registered:'} {name}: {source!r}")
    click.echo(f"next: llm-assets run --crawl {name}")


def _source_of_crawl(name: str) -> dict[str, Any]:
    """The fields of a crawl's source. Raises SourceError if there is no such crawl, or if it cannot be continued."""
    sources = open_registry(load_settings()).effective(load_recipe()).sources()
    if name not in sources:
        raise SourceError(f"--since {name}: no such crawl; available: {', '.join(sorted(sources))}")
    source = sources[name]
    if "since" not in type(source).model_fields:
        raise SourceError(
            f"--since {name}: only crawls from seeds and of the sample web can be continued, not {source.kind}"
        )
    return dict(source.model_dump())


@crawls.command("list")
def list_crawls() -> None:
    """List every crawl with its source and page counts.

    Crawls that could not be fetched or used are listed below, with the reason.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    workspace = open_workspace()
    resolver = workspace.resolver()
    table = Table(box=None, pad_edge=False)
    for column in ("crawl", "source", "captures", "kept", "rejected", "not fetched"):
        table.add_column(column, justify="left" if column in ("crawl", "source") else "right", overflow="fold")
    problems = []
    for name, source in sorted(workspace.recipe.sources().items()):
        raw = _artifact_or_none(resolver, "raw_warc", name)
        ledger = _artifact_or_none(resolver, "reject_ledger", name)
        settings = source.model_dump(exclude_defaults=True)
        shown = ", ".join(f"{field}={value}" for field, value in settings.items() if field != "kind")
        not_fetched = raw.record.stats.get("crawl_failures") if raw is not None else None
        table.add_row(
            name,
            escape(f"{source.kind} {shown}".strip()),
            _count(raw, "captures"),
            _count(ledger, "kept"),
            _count(ledger, "rejected"),
            f"{sum(not_fetched.values()):,}" if not_fetched is not None else "-",
        )
        failed = failed_try(workspace, name)
        if failed is not None:
            problems.append(f"{name}: failed at {failed[0].at}: {failed[0].message}")
    Console(highlight=False, width=None).print(table)
    unusable = open_registry(load_settings()).unusable(workspace.recipe)
    problems += [f"{name}: left out: {reason}" for name, reason in sorted(unusable.items())]
    for problem in problems:
        click.secho(problem, fg="yellow")


@crawls.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the registered crawl NAME and its partition in Dagster.

    Its artifacts stay in the store until `llm-assets artifacts gc` collects them.
    """
    settings = load_settings()
    recipe, registry = load_recipe(), open_registry(settings)
    if name in recipe.crawls:
        raise SourceError(
            f"crawl {name!r} is defined by the recipe {recipe.name!r} itself; remove it from the recipe instead"
        )
    is_registered = registry.holds(name)
    prepare_instance(settings)
    with open_instance() as instance:
        has_partition = name in instance.get_dynamic_partitions("crawl")
        if not is_registered and not has_partition:
            raise SourceError(
                f"no crawl {name!r} is registered, and Dagster has no such partition; see: llm-assets crawls list"
            )
        continuing = _continuing(name, settings) if is_registered else []
        if continuing:
            raise SourceError(f"crawl {name!r} is continued by {', '.join(continuing)}; remove these first")
        if is_registered:
            registry.remove(name)
        if has_partition:
            instance.delete_dynamic_partition("crawl", name)
    removed = ["crawl"] * is_registered + ["partition in Dagster"] * has_partition
    click.echo(f"removed {' and '.join(removed)}: {name}")
    _print_garbage(open_workspace(settings=settings), name)


def _continuing(name: str, settings: Settings) -> list[str]:
    """Crawls, registered or in the recipe, that continue this one directly."""
    registry = open_registry(settings)
    try:
        sources = {**registry.sources(), **load_recipe().sources()}
    except SourceError:  # an unreadable file in the registry must not prevent that it, or another, is removed
        sources = load_recipe().sources()
    return sorted(other for other, source in sources.items() if getattr(source, "since", None) == name)


def _print_garbage(workspace: Workspace, crawl: str) -> None:
    """Print which artifacts of a removed crawl a garbage collection would delete, and how many it would keep."""
    artifacts = list(workspace.store.artifacts(partition=crawl))
    if not artifacts:
        return
    garbage = {artifact.record.identity for artifact in find_garbage(workspace, keep_last=0).artifacts}
    collected = [artifact for artifact in artifacts if artifact.record.identity in garbage]
    if collected:
        size = human_size(sum(artifact.record.total_bytes for artifact in collected))
        click.echo(f"`llm-assets artifacts gc --keep-last 0` would collect {len(collected)} artifacts of it, {size}:")
        for artifact in collected:
            click.echo(f"  {artifact.record.key} {artifact.record.short_id}")
    if len(collected) < len(artifacts):
        kept_count = len(artifacts) - len(collected)
        click.echo(f"{kept_count} artifacts of it are kept, because others were made from them")


@crawls.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete pages without confirmation.")
def retry(name: str, yes: bool) -> None:
    """Make the next run fetch the crawl NAME again.

    Deletes what was fetched, and what an interrupted try left.
    """
    settings = load_settings()
    workspace = open_workspace(settings=settings)
    source = source_of(workspace.recipe, name)
    if isinstance(source, (SampleWeb, Texts)) or (isinstance(source, WarcFiles) and not is_url(source.path)):
        kind = "the sample web" if isinstance(source, SampleWeb) else f"your {source.kind.replace('warc_', 'WARC ')}"
        raise SourceError(
            f"crawl {name!r} reads {kind}, so fetching it again would return the same pages; "
            "every run detects changed files"
        )
    resolution = workspace.resolver().resolve("raw_warc", name)
    identity, artifact = resolution.identity, resolution.artifact
    staging = workspace.store.staging(identity) if identity is not None else None
    is_interrupted = staging is not None and staging.exists()
    if identity is None or (artifact is None and not is_interrupted):
        click.echo(f"nothing of crawl {name} was fetched; next: llm-assets run --crawl {name}")
        return
    continuing = _continuing(name, settings)
    further = f" {', '.join(continuing)}, which continue it, are fetched again too." if continuing else ""
    has_spooled_pages = is_interrupted and any((staging / "spool").glob("exchanges.warc.gz"))
    has_captures = artifact is not None and artifact.record.stats["captures"]
    if isinstance(source, WebCrawl) and (has_spooled_pages or has_captures) and not yes:
        deleted = _captures_of(artifact) if artifact is not None else "an interrupted try's pages"
        click.confirm(f"{deleted} are deleted; the web may not have them any more.{further} Continue?", abort=True)

    def refuse(holder: str) -> None:
        raise SourceError(f"crawl {name!r} is being fetched by {holder}; stop that run first")

    with workspace.store.lock(identity, refuse):
        if artifact is not None:
            workspace.store.delete(artifact)
        if is_interrupted:
            shutil.rmtree(staging)
    click.echo(f"deleted what was fetched of {name}; the next run fetches it again: llm-assets run --crawl {name}")
    click.echo(f"What was made from it stays in the store. It is rebuilt if pages have changed.{further}")


def _captures_of(artifact: Artifact) -> str:
    finished = str(artifact.record.timings.get("finished_at", ""))[:10]
    return f"{artifact.record.stats['captures']:,} captures of {finished}"


def _artifact_or_none(resolver: Any, asset: str, crawl: str) -> Artifact | None:
    """The artifact, or None if it is not built or its source cannot be reached."""
    try:
        artifact: Artifact | None = resolver.resolve(asset, crawl).artifact
    except SourceError:
        return None
    return artifact


def _count(artifact: Artifact | None, field: str) -> str:
    return f"{artifact.record.stats[field]:,}" if artifact is not None else "-"
