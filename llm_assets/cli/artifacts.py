"""``llm-assets artifacts``: what is in the store, why something would rebuild, where something came from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from llm_assets.artifacts import ArtifactError, Workspace
from llm_assets.artifacts.adopt import adopt as adopt_folder
from llm_assets.artifacts.explain import explain as explain_graph
from llm_assets.artifacts.gc import collect, find_garbage
from llm_assets.artifacts.identity import differences
from llm_assets.artifacts.lineage import downstream, trace_document, upstream
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.stage import Key
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import draw_views
from llm_assets.graph import open_workspace

from .options import recipe_option


@click.group()
def artifacts() -> None:
    """The artifact store."""


def _find(workspace: Workspace, name: str) -> Artifact:
    """An artifact by the start of its identity, or by ``asset`` or ``asset/partition`` (what the recipe asks for)."""
    asset, _, partition = name.partition("/")
    if asset in workspace.graph.stages:
        return workspace.resolver().artifact(asset, partition or None)
    if not re.fullmatch(r"[0-9a-f]+", name):
        raise ArtifactError(f"no artifact and no asset is called {name!r}; see: llm-assets artifacts list")
    return workspace.store.find(name)


def named_keys(workspace: Workspace, names: tuple[str, ...]) -> list[Key]:
    """The (asset, partition) pairs that are called by an asset's name or by ``asset/partition``. Raises ClickException."""
    every = workspace.graph.keys(workspace.recipe)
    keys = [key for name in names for key in every if name in (key[0], f"{key[0]}/{key[1]}")]
    if not keys:
        raise click.ClickException(f"nothing in the graph is called {', '.join(names)}")
    return keys


@artifacts.command("list")
@click.option("--asset", default=None, help="Only this asset.")
@recipe_option
def list_artifacts(asset: str | None, recipe: str | None) -> None:
    """Every artifact; * marks what the recipe resolves to now."""
    workspace = open_workspace(recipe)
    if asset is not None:
        workspace.graph[asset]  # raises where there is none
    current = {item.identity for item in explain_graph(workspace) if item.state == "cached"}
    count = 0
    for item in workspace.store.artifacts(asset):
        record = item.record
        mark = "*" if record.short_id in current else " "
        rows = ", ".join(f"{table} {n:,}" for table, n in record.rows.items() if n)
        click.echo(
            f"{mark} {record.short_id}  {record.key:32} {human_size(record.total_bytes):>9}  {str(record.timings.get('finished_at', ''))[:19]}  {rows}"
        )
        count += 1
    if not count:
        click.echo(f"no artifacts in {workspace.store.root}")


@artifacts.command()
@click.argument("name")
@recipe_option
def show(name: str, recipe: str | None) -> None:
    """The record of one artifact: by identity, asset, or asset/partition."""
    item = _find(open_workspace(recipe), name)
    click.echo(f"{item.path}\n{json.dumps(item.record.model_dump(mode='json'), indent=2, sort_keys=True)}")


@artifacts.command()
@click.argument("names", nargs=-1)
@recipe_option
def explain(names: tuple[str, ...], recipe: str | None) -> None:
    """Why would this rebuild? Field by field, before anything is run. NAMES: assets or asset/partition."""
    workspace = open_workspace(recipe)
    for item in explain_graph(workspace, named_keys(workspace, names) if names else None):
        click.echo(f"{item.key}: {item.text()}")


@artifacts.command()
@click.argument("first")
@click.argument("second")
@recipe_option
def diff(first: str, second: str, recipe: str | None) -> None:
    """What differs between two artifacts: identity fields, rows, files."""
    workspace = open_workspace(recipe)
    a, b = _find(workspace, first).record, _find(workspace, second).record
    same = True
    for title, old, new in (("field", a.fields, b.fields), ("rows", a.rows, b.rows), ("stats", a.stats, b.stats)):
        for path, before, after in differences(old, new):
            same = False
            click.echo(f"{title} {path}: {before} → {after}")
    for file in sorted(a.files.keys() | b.files.keys()):
        before, after = a.files.get(file), b.files.get(file)
        if before is None or after is None or before.sha256 != after.sha256:
            same = False
            click.echo(
                f"file {file}: {'only in the second' if before is None else 'only in the first' if after is None else f'{before.bytes:,} → {after.bytes:,} bytes'}"
            )
    click.echo(
        f"data version {a.data_version} {'=' if a.data_version == b.data_version else '≠'} {b.data_version}{'; no difference' if same else ''}"
    )


@artifacts.command()
@click.argument("name")
@recipe_option
def trace(name: str, recipe: str | None) -> None:
    """Follow a document (doc_id or URL) through the tables, or an artifact up and down its lineage."""
    workspace = open_workspace(recipe)
    resolver = workspace.resolver()
    if "://" not in name:
        asset = name.partition("/")[0]
        if asset in workspace.graph.stages or any(
            a.record.identity.startswith(name) for a in workspace.store.artifacts()
        ):
            item = _find(workspace, name)
            for title, found in (
                ("built from", upstream(workspace.store, item)),
                ("read by", downstream(workspace.store, item)),
            ):
                click.echo(
                    f"{item.record.key} {item.record.short_id} {title}:" + ("" if found else " nothing in the store")
                )
                for other in found:
                    click.echo(f"  {other.record.key} {other.record.short_id}")
            return
    found_artifacts = [
        r.artifact
        for asset, partition in workspace.graph.keys(workspace.recipe)
        if (r := resolver.resolve(asset, partition)).artifact is not None
    ]
    sightings = trace_document(found_artifacts, name)
    if not sightings:
        raise click.ClickException(f"no table of the present artifacts holds a document {name!r}")
    for sighting in sightings:
        click.echo(f"{sighting.key} {sighting.identity} {sighting.table}")
        for column, value in sighting.row.items():
            if value is not None and value != "":
                click.echo(f"    {column}: {value}")
    # Models hold no rows of it; that they read the last table which does is where it went.
    seen = {sighting.identity for sighting in sightings}
    last = next(a for a in reversed(found_artifacts) if a.record.short_id in seen)
    present = {a.record.identity for a in found_artifacts}
    for other in downstream(workspace.store, last):
        if other.record.identity in present and other.record.short_id not in seen:
            click.echo(
                f"{other.record.key} {other.record.short_id} was made from {last.record.key} {last.record.short_id}"
            )


@artifacts.command()
@click.argument("names", nargs=-1)
@click.option("--all", "anew", is_flag=True, help="All of them, not only those whose template or code has changed.")
@recipe_option
def render(names: tuple[str, ...], anew: bool, recipe: str | None) -> None:
    """Draw reports and other views again, from what is stored. NAMES: assets or asset/partition; default: all."""
    workspace = open_workspace(recipe)
    resolver = workspace.resolver()
    keys = named_keys(workspace, names) if names else workspace.graph.keys(workspace.recipe)
    count = 0
    for name, partition in keys:
        resolution = resolver.resolve(name, partition)
        if resolution.artifact is None:
            continue
        for file in draw_views(resolution, resolution.artifact, anew):
            click.echo(f"drew {resolution.artifact.view(file)}")
            count += 1
    if not count:
        click.echo("every view is as its template draws it; --all draws them again")


@artifacts.command()
@click.argument("asset")
@click.option("--partition", default=None, help="The crawl, for an asset that has one.")
@click.option(
    "--from", "folder", required=True, type=click.Path(path_type=Path), help="A folder laid out as the artifact."
)
@recipe_option
def adopt(asset: str, partition: str | None, folder: Path, recipe: str | None) -> None:
    """Take existing data into the store as the artifact that the recipe asks for."""
    workspace = open_workspace(recipe)
    item = adopt_folder(workspace.graph[asset], partition, workspace, folder)
    click.echo(
        f"adopted {item.record.key} {item.record.short_id}: {human_size(item.record.total_bytes)} in {item.path}"
    )


@artifacts.command()
@click.option("--delete", is_flag=True, help="Really delete; without it nothing is touched.")
@click.option(
    "--keep-last",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    help="Newest versions to keep of each asset and partition.",
)
@click.option("--staging-days", default=7.0, show_default=True, help="Age of an interrupted build before it goes.")
@click.option(
    "--forget",
    multiple=True,
    metavar="RECIPE",
    help="A recipe that keeps nothing any more, by name or name@digest; never the present one. Repeatable.",
)
@recipe_option
def gc(delete: bool, keep_last: int, staging_days: float, forget: tuple[str, ...], recipe: str | None) -> None:
    """Find (and with --delete remove) what no recipe of the store, recent build or kept artifact needs."""
    workspace = open_workspace(recipe)
    garbage = find_garbage(workspace, keep_last, staging_days, forget)
    verb = "deleting" if delete else "would delete"
    for item in garbage.artifacts:
        click.echo(f"{verb} {item.record.key} {item.record.short_id} {human_size(item.record.total_bytes)}")
    for folder in garbage.staging:
        click.echo(f"{verb} interrupted build {folder}")
    for label in garbage.forgotten:
        click.echo(f"{'forgetting' if delete else 'would forget'} recipe {label}")
    for kept in garbage.kept_for_recipes:
        if kept.artifacts:
            names = ", ".join(dict.fromkeys(item.record.asset for item in kept.artifacts))
            click.echo(
                f"recipe {kept.recipe}, last used {kept.last_used}, alone keeps {human_size(kept.bytes)} "
                f"({names}); to let it go: --forget {kept.recipe}"
            )
    if delete:
        collect(workspace, garbage)
    if not (garbage.artifacts or garbage.staging):
        click.echo("nothing to collect")
    elif delete:
        click.echo(f"{human_size(garbage.bytes)} freed")
    else:
        click.echo(f"{human_size(garbage.bytes)} could be freed; run again with --delete")
