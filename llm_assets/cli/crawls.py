"""``llm-assets crawls``: register crawls with their sources, list them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from llm_assets.graph import open_workspace
from llm_assets.recipes import RecipeError, load_recipe, parse_source
from llm_assets.recipes.load import describe
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry
from llm_assets.web.errors import SourceError

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
@click.option("--path", "paths", multiple=True, help="With --common-crawl: exactly this entry (or number) of warc.paths.gz; repeatable.")
@click.option("--base-url", default=None, help="With --common-crawl: where crawl-data/ lies.")
@click.option("--seed", "seeds", multiple=True, help="Own crawl: a URL to start from; repeatable.")
@click.option("--sample-web", is_flag=True, help="The embedded sample web.")
@click.option("--since", default=None, help="Continue this earlier crawl (own crawls and the sample web); without a source, from its source and settings.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Any other field of the source, such as max_pages=500; repeatable.")
def add(name: str, warc: str | None, copy: bool, snapshot: str | None, files: int | None, paths: tuple[str, ...], base_url: str | None, seeds: tuple[str, ...], sample_web: bool, since: str | None, settings: tuple[str, ...]) -> None:
    """Register crawl NAME with its source; with --since alone, with that crawl's."""
    chosen = [kind for kind, given in (("--warc", warc), ("--common-crawl", snapshot), ("--seed", seeds), ("--sample-web", sample_web)) if given]
    fields: dict[str, Any] = {}
    if not chosen and since:
        chosen, fields = ["--since"], _source_of_crawl(since)
    if len(chosen) != 1:
        raise click.UsageError(f"give exactly one of --warc, --common-crawl, --seed, --sample-web (got {', '.join(chosen) or 'none'})")
    if warc:
        if "://" not in warc:
            warc = str(Path(warc).expanduser().absolute())
        fields = {"kind": "warc_files", "path": warc, "copy_files": copy}
    elif snapshot:
        fields = {"kind": "common_crawl", "snapshot": snapshot, "paths": paths, "files": files if files is not None else (None if paths else 1)}
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
    """Every crawl: name, source, what the store holds of it."""
    from rich.console import Console
    from rich.table import Table

    workspace = open_workspace()
    resolver = workspace.resolver()
    table = Table(box=None, pad_edge=False)
    for column in ("crawl", "source", "captures", "kept", "rejected"):
        table.add_column(column, justify="left" if column in ("crawl", "source") else "right", overflow="fold")
    for name, source in sorted(workspace.recipe.sources().items()):
        raw = _quietly(resolver, "raw_warc", name)
        ledger = _quietly(resolver, "reject_ledger", name)
        shown = ", ".join(f"{k}={v}" for k, v in source.model_dump(exclude_defaults=True).items() if k != "kind")
        table.add_row(name, f"{source.kind} {shown}".strip(), _count(raw, "captures"), _count(ledger, "kept"), _count(ledger, "rejected"))
    Console(highlight=False, width=None).print(table)


def _quietly(resolver: Any, asset: str, name: str) -> Any:
    """The artifact, or None where it is not built or its source is out of reach."""
    try:
        return resolver.resolve(asset, name).artifact
    except SourceError:
        return None


def _count(artifact: Any, field: str) -> str:
    return f"{artifact.record.stats[field]:,}" if artifact is not None else "-"
