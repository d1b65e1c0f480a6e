"""``llm-assets artifacts``: list the store, explain rebuilds, follow lineage, collect garbage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from llm_assets.artifacts import RemoteStore, Workspace, open_store
from llm_assets.artifacts.adopt import adopt as adopt_folder
from llm_assets.artifacts.copying import copy_store
from llm_assets.artifacts.explain import explain as explain_graph
from llm_assets.artifacts.explain import left_out_lines
from llm_assets.artifacts.gc import collect, find_garbage
from llm_assets.artifacts.identity import differences
from llm_assets.artifacts.lineage import downstream, find_artifact, trace_document, upstream
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.record import Record
from llm_assets.artifacts.stage import Key
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import draw_views
from llm_assets.graph import open_workspace
from llm_assets.settings import load_settings

from .options import recipe_option


@click.group()
def artifacts() -> None:
    """Inspect and manage the artifact store."""


def named_keys(workspace: Workspace, names: tuple[str, ...]) -> list[Key]:
    """The (asset, partition) pairs with these names (``asset`` or ``asset/partition``). Raises ClickException."""
    known = workspace.graph.keys(workspace.recipe)
    keys = [key for name in names for key in known if name in (key[0], f"{key[0]}/{key[1]}")]
    left_out = workspace.graph.left_out(workspace.recipe)
    unbuilt = {name: left_out[name] for name in names if name in left_out}
    if unbuilt:
        raise click.ClickException("; ".join(left_out_lines(unbuilt)))
    if not keys:
        raise click.ClickException(f"nothing in the graph is called {', '.join(names)}")
    return keys


@artifacts.command("list")
@click.option("--asset", default=None, help="List only this asset.")
@recipe_option
def list_artifacts(asset: str | None, recipe: str | None) -> None:
    """List every artifact in the store.

    An asterisk marks those that the recipe resolves to now.
    """
    workspace = open_workspace(recipe)
    if asset is not None:
        workspace.graph[asset]  # raises if there is no such asset
    current = {explanation.identity for explanation in explain_graph(workspace) if explanation.state == "cached"}
    artifact = None
    for artifact in workspace.store.artifacts(asset):
        record = artifact.record
        mark = "*" if record.short_id in current else " "
        rows = ", ".join(f"{table} {count:,}" for table, count in record.rows.items() if count)
        finished = str(record.timings.get("finished_at", ""))[:19]
        click.echo(f"{mark} {record.short_id}  {record.key:32} {human_size(record.total_bytes):>9}  {finished}  {rows}")
    if artifact is None:
        click.echo(f"no artifacts in {getattr(workspace.store, 'url', workspace.store.root)}")


@artifacts.command()
@click.argument("name")
@recipe_option
def show(name: str, recipe: str | None) -> None:
    """Show the record of the artifact NAME.

    NAME is the start of an identity, an asset, or asset/partition.
    """
    artifact = find_artifact(open_workspace(recipe), name)
    click.echo(f"{artifact.location}\n{json.dumps(artifact.record.model_dump(mode='json'), indent=2, sort_keys=True)}")


@artifacts.command()
@click.argument("names", nargs=-1)
@recipe_option
def explain(names: tuple[str, ...], recipe: str | None) -> None:
    """Explain why artifacts would be rebuilt, field by field.

    NAMES are assets or asset/partition; without NAMES, the whole graph is explained. Nothing is run.
    """
    workspace = open_workspace(recipe)
    for explanation in explain_graph(workspace, named_keys(workspace, names) if names else None):
        click.echo(f"{explanation.key}: {explanation.text()}")


@artifacts.command()
@click.argument("first")
@click.argument("second")
@recipe_option
def diff(first: str, second: str, recipe: str | None) -> None:
    """Compare the artifacts FIRST and SECOND.

    Shows how their identity fields, rows, stats and files differ.
    """
    workspace = open_workspace(recipe)
    before, after = find_artifact(workspace, first).record, find_artifact(workspace, second).record
    lines = [*_field_differences(before, after), *_file_differences(before, after)]
    for line in lines:
        click.echo(line)
    equality = "=" if before.data_version == after.data_version else "≠"
    end = "" if lines else "; no difference"
    click.echo(f"data version {before.data_version} {equality} {after.data_version}{end}")


def _field_differences(before: Record, after: Record) -> Iterator[str]:
    pairs = (
        ("field", before.fields, after.fields),
        ("rows", before.rows, after.rows),
        ("stats", before.stats, after.stats),
    )
    for title, old_values, new_values in pairs:
        for path, old, new in differences(old_values, new_values):
            yield f"{title} {path}: {old} → {new}"


def _file_differences(before: Record, after: Record) -> Iterator[str]:
    for name in sorted(before.files.keys() | after.files.keys()):
        old, new = before.files.get(name), after.files.get(name)
        if old is None:
            yield f"file {name}: only in the second"
        elif new is None:
            yield f"file {name}: only in the first"
        elif old.sha256 != new.sha256:
            yield f"file {name}: {old.bytes:,} → {new.bytes:,} bytes"


@artifacts.command()
@click.argument("name")
@recipe_option
def trace(name: str, recipe: str | None) -> None:
    """Follow a document or an artifact through the graph.

    If NAME is a doc_id or URL, shows every table row of the document. If it is an identity, an asset or
    asset/partition, shows what the artifact was built from and what reads it.
    """
    workspace = open_workspace(recipe)
    if _names_artifact(workspace, name):
        _trace_artifact(workspace, find_artifact(workspace, name))
    else:
        _trace_document(workspace, name)


def _names_artifact(workspace: Workspace, name: str) -> bool:
    if "://" in name:
        return False
    if name.partition("/")[0] in workspace.graph.stages:
        return True
    return any(artifact.record.identity.startswith(name) for artifact in workspace.store.artifacts())


def _trace_artifact(workspace: Workspace, artifact: Artifact) -> None:
    label = f"{artifact.record.key} {artifact.record.short_id}"
    for title, related in (
        ("built from", upstream(workspace.store, artifact)),
        ("read by", downstream(workspace.store, artifact)),
    ):
        click.echo(f"{label} {title}:" + ("" if related else " nothing in the store"))
        for other in related:
            click.echo(f"  {other.record.key} {other.record.short_id}")


def _trace_document(workspace: Workspace, name: str) -> None:
    resolver = workspace.resolver()
    resolutions = [resolver.resolve(*key) for key in workspace.graph.keys(workspace.recipe)]
    current = [resolution.artifact for resolution in resolutions if resolution.artifact is not None]
    sightings = trace_document(current, name)
    if not sightings:
        raise click.ClickException(f"no table of the current artifacts holds a document {name!r}")
    for sighting in sightings:
        click.echo(f"{sighting.key} {sighting.identity} {sighting.table}")
        for column, value in sighting.row.items():
            if value is not None and value != "":
                click.echo(f"    {column}: {value}")
    # Models hold no rows of documents. They are found as downstream of the last table that does.
    holders = {sighting.identity for sighting in sightings}
    last = next(artifact for artifact in reversed(current) if artifact.record.short_id in holders)
    current_identities = {artifact.record.identity for artifact in current}
    for other in downstream(workspace.store, last):
        if other.record.identity in current_identities and other.record.short_id not in holders:
            click.echo(
                f"{other.record.key} {other.record.short_id} was made from {last.record.key} {last.record.short_id}"
            )


@artifacts.command()
@click.argument("names", nargs=-1)
@click.option("--all", "draw_all", is_flag=True, help="Draw all views, not only those whose template or code changed.")
@recipe_option
def render(names: tuple[str, ...], draw_all: bool, recipe: str | None) -> None:
    """Draw reports and other views again from stored data.

    NAMES are assets or asset/partition; without NAMES, the views of every asset are drawn.
    """
    workspace = open_workspace(recipe)
    resolver = workspace.resolver()
    keys = named_keys(workspace, names) if names else workspace.graph.keys(workspace.recipe)
    count = 0
    for asset, partition in keys:
        resolution = resolver.resolve(asset, partition)
        if resolution.artifact is None:
            continue
        for file in draw_views(resolution, resolution.artifact, draw_all):
            click.echo(f"drew {resolution.artifact.view(file)}")
            count += 1
    if not count:
        click.echo("every view is up to date with its template; --all draws them again")


@artifacts.command()
@click.argument("asset")
@click.option("--partition", default=None, help="Crawl, if the asset is built per crawl.")
@click.option(
    "--from",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with the files, laid out as in the artifact.",
)
@recipe_option
def adopt(asset: str, partition: str | None, folder: Path, recipe: str | None) -> None:
    """Add existing data to the store as an artifact of ASSET.

    It becomes the artifact that the recipe asks for.
    """
    workspace = open_workspace(recipe)
    artifact = adopt_folder(workspace.graph[asset], partition, workspace, folder)
    record = artifact.record
    click.echo(f"adopted {record.key} {record.short_id}: {human_size(record.total_bytes)} in {artifact.location}")


@artifacts.command()
@click.argument("url")
def copy(url: str) -> None:
    """Copy every artifact of this store, which is a local folder, to the store at URL.

    What is there already is skipped, so that an interrupted copy can be repeated. Notes about recipes are copied, so
    that gc keeps what they need, and records of takedowns, into the local folder of the new store. Nothing at URL is
    overwritten: the copy is refused if it has other files for the same identity, or what a takedown removed here.
    """
    settings = load_settings()
    source, target = open_workspace(settings=settings).store, open_store(url, settings.data / "cache")
    if isinstance(source, RemoteStore) or not isinstance(target, RemoteStore):
        raise click.ClickException("copy goes from a local folder (LLM_ASSETS_STORE) to a URL of object storage")
    copied, skipped = copy_store(source, target)
    click.echo(f"{copied} artifacts copied to {target.url}, {skipped} were there")


@artifacts.command()
@click.option("--delete", is_flag=True, help="Delete the garbage. Without this option, it is only listed.")
@click.option(
    "--keep-last",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    help="Number of newest versions to keep of each asset and partition.",
)
@click.option(
    "--staging-days",
    default=7.0,
    show_default=True,
    help="Age in days at which an interrupted build becomes garbage.",
)
@click.option(
    "--forget",
    multiple=True,
    metavar="RECIPE",
    help="Recipe (name or name@digest) whose artifacts need no longer be kept; not the current one. Repeatable.",
)
@recipe_option
def gc(delete: bool, keep_last: int, staging_days: float, forget: tuple[str, ...], recipe: str | None) -> None:
    """Find artifacts that nothing needs, and delete them with --delete.

    Kept are the artifacts that a recipe used with this store resolves to, the newest versions of each asset and
    partition, and everything that these were built from.
    """
    workspace = open_workspace(recipe)
    garbage = find_garbage(workspace, keep_last, staging_days, forget)
    verb = "deleting" if delete else "would delete"
    for artifact in garbage.artifacts:
        record = artifact.record
        click.echo(f"{verb} {record.key} {record.short_id} {human_size(record.total_bytes)}")
    for folder in garbage.staging:
        click.echo(f"{verb} interrupted build {folder}")
    for upload in garbage.uploads:
        click.echo(f"{verb} interrupted upload {upload.place}, {human_size(upload.bytes)}")
    for label in garbage.forgotten:
        click.echo(f"{'forgetting' if delete else 'would forget'} recipe {label}")
    for holder in garbage.kept_for_recipes:
        if holder.artifacts:
            assets = ", ".join(dict.fromkeys(artifact.record.asset for artifact in holder.artifacts))
            size = human_size(holder.bytes)
            click.echo(
                f"recipe {holder.recipe}, last used {holder.last_used}, is the only one to keep {size} ({assets}); "
                f"to release them: --forget {holder.recipe}"
            )
    if delete:
        collect(workspace, garbage)
    if not (garbage.artifacts or garbage.staging or garbage.uploads):
        click.echo("nothing to collect")
    elif delete:
        click.echo(f"{human_size(garbage.bytes)} freed")
    else:
        click.echo(f"{human_size(garbage.bytes)} could be freed; run again with --delete")
