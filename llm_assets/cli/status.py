"""``llm-assets status``: what is built, what is missing or stale, what is running."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.stage import Resolution
from llm_assets.graph import open_workspace
from llm_assets.settings import Settings, load_settings

from .options import recipe_option

if TYPE_CHECKING:
    import dagster as dg


@click.command()
@recipe_option
def status(recipe: str | None) -> None:
    """What is built, what is stale or missing, what is running: a line each."""
    settings = load_settings()
    workspace = open_workspace(recipe, settings)
    resolver = workspace.resolver()
    resolutions = [resolver.resolve(*key) for key in workspace.graph.keys(workspace.recipe)]
    click.echo(f"built: {built(workspace, resolutions)}")
    click.echo(f"stale or missing: {stale_or_missing(workspace, resolutions)}")
    click.echo(f"running: {', '.join([*runs(settings), *builds(workspace)]) or 'nothing'}")


def built(workspace: Workspace, resolutions: list[Resolution]) -> str:
    """How many assets are built, and of which crawls all of theirs."""
    graph, there = workspace.graph, {one.key for one in resolutions if one.artifact is not None}
    per_crawl = [stage.name for stage in graph if stage.per_crawl]
    whole = {stage.name for stage in graph if not stage.per_crawl and stage.name in there}
    crawls = workspace.recipe.corpus()
    whole |= {name for name in per_crawl if crawls and all(f"{name}/{crawl}" in there for crawl in crawls)}
    parts = []
    for crawl in crawls:
        count = sum(f"{name}/{crawl}" in there for name in per_crawl)
        parts.append(f"{crawl} {count} of {len(per_crawl)}" if count < len(per_crawl) else f"{crawl} all {count}")
    return (
        f"{len(whole)} of {len(graph.stages)} assets under recipe {workspace.recipe.name!r}; "
        f"of each crawl: {', '.join(parts) or 'there is none'}"
    )


def stale_or_missing(workspace: Workspace, resolutions: list[Resolution]) -> str:
    """Names of the artifacts that are not there: missing ones were never built, stale ones under another recipe or code."""
    open_ones = [one for one in resolutions if one.artifact is None]
    stale = [one for one in open_ones if workspace.store.latest(one.stage.name, one.partition) is not None]
    missing = [one for one in open_ones if one not in stale]
    named = [f"{title} {_by_asset(ones)}" for title, ones in (("stale", stale), ("missing", missing)) if ones]
    return "; ".join(named) or "nothing"


def _by_asset(resolutions: list[Resolution]) -> str:
    crawls: dict[str, list[str]] = {}
    for one in resolutions:
        crawls.setdefault(one.stage.name, []).extend([one.partition] if one.partition else [])
    return ", ".join(f"{name}/{','.join(of)}" if of else name for name, of in crawls.items())


def runs(settings: Settings) -> list[str]:
    """Runs in progress of the Dagster instance, where there is one: id, assets at work, since when."""
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
    since = f"since {began:%Y-%m-%d %H:%M:%S}"
    if run.status == dg.DagsterRunStatus.QUEUED:
        return f"{name} (queued {since})"
    if was_killed(run.run_id):
        return f"{name} (killed; the next run closes it)"
    steps = [step.step_key for step in instance.get_run_step_stats(run.run_id) if step.start_time and not step.end_time]
    waits = [f"{step} waits {reason}" for step, reason in pool_waits(instance, run.run_id).items()]
    return f"{name} ({', '.join([*steps, *waits]) or 'between assets'}, {since})"


def builds(workspace: Workspace) -> list[str]:
    """Builds in progress in the store, by whomever: artifact, process, since when."""
    return [
        f"build of {one.key} by {one.holder}"
        + (f" since {datetime.fromisoformat(one.since).astimezone():%Y-%m-%d %H:%M:%S}" if one.since else "")
        for one in workspace.store.builds_in_progress()
    ]
