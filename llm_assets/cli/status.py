"""``llm-assets status``: what is built, what is missing or stale, what is running."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.explain import left_out_lines
from llm_assets.artifacts.resolver import Resolution
from llm_assets.graph import open_workspace
from llm_assets.settings import Settings, load_settings

from .options import recipe_option

if TYPE_CHECKING:
    import dagster as dg

TIME = "%Y-%m-%d %H:%M:%S"  # local time


@click.command()
@recipe_option
def status(recipe: str | None) -> None:
    """Show what is built, stale, missing and running."""
    settings = load_settings()
    workspace = open_workspace(recipe, settings)
    resolver = workspace.resolver()
    resolutions = [resolver.resolve(*key) for key in workspace.graph.keys(workspace.recipe)]
    on_demand = workspace.graph.on_demand(workspace.recipe)
    resolutions = [item for item in resolutions if item.artifact or item.stage.name not in on_demand]
    click.echo(f"built: {built(workspace, resolutions)}")
    click.echo(f"stale or missing: {stale_or_missing(workspace, resolutions)}")
    for line in left_out_lines(default_left_out(workspace)):
        click.echo(line)
    click.echo(f"running: {', '.join([*runs(settings), *builds(workspace)]) or 'nothing'}")


def default_left_out(workspace: Workspace) -> dict[str, str]:
    """Assets that the recipe leaves out, with the reason, but for those that are built on demand."""
    left_out = workspace.graph.left_out(workspace.recipe)
    on_demand = workspace.graph.on_demand(workspace.recipe)
    return {name: reason for name, reason in left_out.items() if name not in on_demand}


def built(workspace: Workspace, resolutions: list[Resolution]) -> str:
    """How many assets are built, and how many of the per-crawl assets for each crawl."""
    graph, crawls = workspace.graph, workspace.recipe.corpus()
    built_keys = {resolution.key for resolution in resolutions if resolution.artifact is not None}
    left_out = graph.left_out(workspace.recipe)
    stages = [stage for stage in graph if stage.name not in left_out]
    per_crawl = [stage.name for stage in stages if stage.per_crawl]
    complete = {stage.name for stage in stages if not stage.per_crawl and stage.name in built_keys}
    if crawls:
        complete |= {name for name in per_crawl if all(f"{name}/{crawl}" in built_keys for crawl in crawls)}
    by_crawl = []
    for crawl in crawls:
        count = sum(f"{name}/{crawl}" in built_keys for name in per_crawl)
        by_crawl.append(f"{crawl} {count} of {len(per_crawl)}" if count < len(per_crawl) else f"{crawl} all {count}")
    on_demand = graph.on_demand(workspace.recipe)
    count = sum(stage.name not in on_demand or stage.name in complete for stage in stages)
    return (
        f"{len(complete)} of {count} assets under recipe {workspace.recipe.name!r}; "
        f"by crawl: {', '.join(by_crawl) or 'there is no crawl'}"
    )


def stale_or_missing(workspace: Workspace, resolutions: list[Resolution]) -> str:
    """Names of the artifacts that are not in the store.

    Missing ones were never built; stale ones were, under another recipe or by other code.
    """
    unbuilt = [resolution for resolution in resolutions if resolution.artifact is None]
    stale = [
        resolution
        for resolution in unbuilt
        if workspace.store.latest(resolution.stage.name, resolution.partition) is not None
    ]
    missing = [resolution for resolution in unbuilt if resolution not in stale]
    groups = [f"{title} {_by_asset(group)}" for title, group in (("stale", stale), ("missing", missing)) if group]
    return "; ".join(groups) or "nothing"


def _by_asset(resolutions: list[Resolution]) -> str:
    """Assets, each with its crawls: ``tokenizer, token_shards/a,b``."""
    crawls: dict[str, list[str]] = {}
    for resolution in resolutions:
        crawls.setdefault(resolution.stage.name, []).extend([resolution.partition] if resolution.partition else [])
    return ", ".join(f"{name}/{','.join(partitions)}" if partitions else name for name, partitions in crawls.items())


def runs(settings: Settings) -> list[str]:
    """Dagster runs in progress: id, assets that are being built, start time. Empty if there is no instance."""
    home = settings.dagster_home.absolute()
    if not Path(home, "dagster.yaml").exists():
        return []
    os.environ["DAGSTER_HOME"] = str(home)
    import dagster as dg

    from resources.live_runs import IN_PROGRESS

    with dg.DagsterInstance.get() as instance:
        records = instance.get_run_records(dg.RunsFilter(statuses=[*IN_PROGRESS, dg.DagsterRunStatus.QUEUED]))
        return [_run(instance, record) for record in records]


def _run(instance: dg.DagsterInstance, record: dg.RunRecord) -> str:
    import dagster as dg

    from resources.live_runs import pool_waits, was_killed

    run = record.dagster_run
    name = f"run {run.run_id[:8]}"
    began = datetime.fromtimestamp(record.start_time) if record.start_time else record.create_timestamp.astimezone()
    since = f"since {began.strftime(TIME)}"
    if run.status == dg.DagsterRunStatus.QUEUED:
        return f"{name} (queued {since})"
    if was_killed(run.run_id):
        return f"{name} (killed; the next run closes it)"
    steps = [step.step_key for step in instance.get_run_step_stats(run.run_id) if step.start_time and not step.end_time]
    waits = [f"{step} waits {reason}" for step, reason in pool_waits(instance, run.run_id).items()]
    return f"{name} ({', '.join([*steps, *waits]) or 'between assets'}, {since})"


def builds(workspace: Workspace) -> list[str]:
    """Builds in progress in the store, in any process: artifact, process, start time."""
    lines = []
    for build in workspace.store.builds_in_progress():
        since = f" since {datetime.fromisoformat(build.since).astimezone().strftime(TIME)}" if build.since else ""
        lines.append(f"build of {build.key} by {build.holder}{since}")
    return lines
