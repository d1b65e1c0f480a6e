"""``llm-assets crawls``: register crawls with their sources, list them, remove them, have them fetched again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.progress import human_size
from llm_assets.graph import open_workspace
from llm_assets.recipes import RecipeError, SampleWeb, WarcFiles, WebCrawl, load_recipe, parse_source
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
    """Crawls and where they come from."""


@crawls.command("add")
@click.argument("name")
@click.option("--warc", "warc", help="A folder, file, glob or URL of WARC files.")
@click.option("--copy", is_flag=True, help="With --warc: copy the files into the store instead of referencing them.")
@click.option("--common-crawl", "snapshot", help="A Common Crawl snapshot id, such as CC-MAIN-2026-43.")
@click.option("--files", type=int, default=None, help="With --common-crawl: how many WARC files.")
@click.option(
    "--path",
    "paths",
    multiple=True,
    help="With --common-crawl: exactly this entry (or number) of warc.paths.gz; repeatable.",
)
@click.option("--base-url", default=None, help="With --common-crawl: where crawl-data/ lies.")
@click.option("--seed", "seeds", multiple=True, help="Own crawl: a URL to start from; repeatable.")
@click.option("--sample-web", is_flag=True, help="The embedded sample web.")
@click.option(
    "--since",
    default=None,
    help="Continue this earlier crawl (own crawls and the sample web); without a source, from its source and settings.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Any other field of the source, such as max_pages=500; repeatable.",
)
def add(
    name: str,
    warc: str | None,
    copy: bool,
    snapshot: str | None,
    files: int | None,
    paths: tuple[str, ...],
    base_url: str | None,
    seeds: tuple[str, ...],
    sample_web: bool,
    since: str | None,
    settings: tuple[str, ...],
) -> None:
    """Register crawl NAME with its source; with --since alone, with that crawl's."""
    chosen = [
        kind
        for kind, given in (
            ("--warc", warc),
            ("--common-crawl", snapshot),
            ("--seed", seeds),
            ("--sample-web", sample_web),
        )
        if given
    ]
    fields: dict[str, Any] = {}
    if not chosen and since:
        chosen, fields = ["--since"], _source_of_crawl(since)
    if len(chosen) != 1:
        raise click.UsageError(
            f"give exactly one of --warc, --common-crawl, --seed, --sample-web (got {', '.join(chosen) or 'none'})"
        )
    if warc:
        if "://" not in warc:
            warc = str(Path(warc).expanduser().absolute())
        fields = {"kind": "warc_files", "path": warc, "copy_files": copy}
    elif snapshot:
        fields = {
            "kind": "common_crawl",
            "snapshot": snapshot,
            "paths": paths,
            "files": files if files is not None else (None if paths else 1),
        }
        if base_url:
            fields["base_url"] = base_url
    elif seeds:
        fields = {"kind": "crawl", "seeds": seeds}
    elif sample_web:
        fields = {"kind": "sample_web"}
    if since:
        fields["since"] = since
    for setting in settings:
        field, separator, value = setting.partition("=")
        if not separator:
            raise click.UsageError(f"--set {setting!r}: use FIELD=VALUE")
        fields[field] = value
    try:
        source = parse_source(fields)
    except ValidationError as error:
        raise RecipeError(f"crawl {name}: {describe(error)}") from error
    environment = load_settings()
    recipe = load_recipe()
    if name in recipe.crawls and recipe.crawls[name] != source:
        raise SourceError(f"crawl {name!r} is defined by the recipe {recipe.name!r} with another source")
    crawl_registry = open_registry(environment)
    if since and since not in crawl_registry.effective(recipe).sources():
        raise SourceError(f"--since {since}: no such crawl")
    for warning in check_source(source):
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    new = crawl_registry.add(name, source)
    prepare_instance(environment)
    with open_instance() as instance:
        register_partitions([name], instance)
    click.echo(f"{'registered' if new else 'was registered already:'} {name}: {source!r}")
    click.echo(f"next: llm-assets run --crawl {name}")


def _source_of_crawl(name: str) -> dict[str, Any]:
    """The fields of a crawl's source. Raises SourceError where there is no such crawl, or none that can be continued."""
    sources = open_registry(load_settings()).effective(load_recipe()).sources()
    if name not in sources:
        raise SourceError(f"--since {name}: no such crawl; there are {', '.join(sorted(sources))}")
    if "since" not in type(sources[name]).model_fields:
        raise SourceError(f"--since {name}: only own crawls and the sample web are continued, not {sources[name].kind}")
    return dict(sources[name].model_dump())


@crawls.command("list")
def list_crawls() -> None:
    """Every crawl: name, source, what the store holds of it; and why crawls could not be built."""
    from rich.console import Console
    from rich.table import Table

    workspace = open_workspace()
    resolver = workspace.resolver()
    table = Table(box=None, pad_edge=False)
    for column in ("crawl", "source", "captures", "kept", "rejected", "not fetched"):
        table.add_column(column, justify="left" if column in ("crawl", "source") else "right", overflow="fold")
    failures = []
    for name, source in sorted(workspace.recipe.sources().items()):
        raw = _quietly(resolver, "raw_warc", name)
        ledger = _quietly(resolver, "reject_ledger", name)
        shown = ", ".join(f"{k}={v}" for k, v in source.model_dump(exclude_defaults=True).items() if k != "kind")
        not_fetched = raw.record.stats.get("crawl_failures") if raw is not None else None
        table.add_row(
            name,
            f"{source.kind} {shown}".strip(),
            _count(raw, "captures"),
            _count(ledger, "kept"),
            _count(ledger, "rejected"),
            f"{sum(not_fetched.values()):,}" if not_fetched is not None else "-",
        )
        failed = failed_try(workspace, name)
        if failed is not None:
            failures.append(f"{name}: failed at {failed[0].at}: {failed[0].message}")
    Console(highlight=False, width=None).print(table)
    unusable = open_registry(load_settings()).unusable(workspace.recipe)
    for line in [*failures, *(f"{name}: left out: {reason}" for name, reason in sorted(unusable.items()))]:
        click.secho(line, fg="yellow")


@crawls.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget the registered crawl NAME, and its partition in Dagster. Its artifacts stay in the store until gc."""
    settings = load_settings()
    recipe, registry = load_recipe(), open_registry(settings)
    if name in recipe.crawls:
        raise SourceError(
            f"crawl {name!r} is one that the recipe {recipe.name!r} names itself: take it out of the recipe"
        )
    registered = registry.holds(name)
    prepare_instance(settings)
    with open_instance() as instance:
        partition = name in instance.get_dynamic_partitions("crawl")
        if not registered and not partition:
            raise SourceError(f"no crawl {name!r} is registered, and Dagster has no such partition; see: crawls list")
        continuing = _continuing(name, settings) if registered else []
        if continuing:
            raise SourceError(f"crawl {name!r} stays: {', '.join(continuing)} continue it; remove those first")
        if registered:
            registry.remove(name)
        if partition:
            instance.delete_dynamic_partition("crawl", name)
    removed = " and ".join(what for what, was in (("crawl", registered), ("partition in Dagster", partition)) if was)
    click.echo(f"removed {removed}: {name}")
    _tell_garbage(open_workspace(settings=settings), name)


def _continuing(name: str, settings: Settings) -> list[str]:
    """Crawls, registered or of the recipe, that continue this one directly."""
    registry = open_registry(settings)
    try:
        sources = {**registry.sources(), **load_recipe().sources()}
    except SourceError:  # an unreadable file must not keep itself, or another, from being removed
        sources = load_recipe().sources()
    return sorted(other for other, source in sources.items() if getattr(source, "since", None) == name)


def _tell_garbage(workspace: Workspace, crawl: str) -> None:
    """Which artifacts of a crawl that is gone a collection would take, and which it would keep."""
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
        click.echo(f"{len(artifacts) - len(collected)} artifacts of it are kept: others are made from them")


@crawls.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete pages without asking.")
def retry(name: str, yes: bool) -> None:
    """Have crawl NAME fetched again at the next run: forget what was fetched, and what an interrupted try left."""
    settings = load_settings()
    workspace = open_workspace(settings=settings)
    source = source_of(workspace.recipe, name)
    if isinstance(source, SampleWeb) or (isinstance(source, WarcFiles) and not is_url(source.path)):
        kind = "the sample web" if isinstance(source, SampleWeb) else "your WARC files"
        raise SourceError(f"crawl {name!r} is of {kind}: it would be the same again; changed files are seen by any run")
    resolution = workspace.resolver().resolve("raw_warc", name)
    identity, artifact = resolution.identity, resolution.artifact
    staging = workspace.store.staging(identity) if identity is not None else None
    interrupted = staging is not None and staging.exists()
    if identity is None or (artifact is None and not interrupted):
        click.echo(f"nothing of crawl {name} was fetched; next: llm-assets run --crawl {name}")
        return
    continuing = _continuing(name, settings)
    further = f" {', '.join(continuing)}, which continue it, are fetched again too." if continuing else ""
    spooled = interrupted and any((staging / "spool").glob("exchanges.warc.gz"))
    if isinstance(source, WebCrawl) and (spooled or (artifact is not None and artifact.record.stats["captures"])):
        what = (
            f"{artifact.record.stats['captures']:,} captures" if artifact is not None else "an interrupted try's pages"
        )
        finished = f" of {str(artifact.record.timings.get('finished_at', ''))[:10]}" if artifact is not None else ""
        if not yes:
            question = f"{what}{finished} are deleted; the web may not have them any more.{further} Go on?"
            click.confirm(question, abort=True)

    def refuse(holder: str) -> None:
        raise SourceError(f"crawl {name!r} is being fetched by {holder}; stop that run first")

    with workspace.store.lock(identity, refuse):
        if artifact is not None:
            workspace.store.delete(artifact)
        if interrupted:
            shutil.rmtree(staging)
    click.echo(f"forgot what was fetched of {name}; the next run fetches it again: llm-assets run --crawl {name}")
    click.echo(f"What was made from it stays in the store, and is made anew from pages that changed.{further}")


def _quietly(resolver: Any, asset: str, name: str) -> Any:
    """The artifact, or None where it is not built or its source is out of reach."""
    try:
        return resolver.resolve(asset, name).artifact
    except SourceError:
        return None


def _count(artifact: Any, field: str) -> str:
    return f"{artifact.record.stats[field]:,}" if artifact is not None else "-"
