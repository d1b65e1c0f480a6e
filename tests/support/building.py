"""Stages of a recipe built in this process, wave by wave, as a backfill of Dagster's does."""

from llm_assets.artifacts import Stage, materialize
from llm_assets.artifacts.checks import CheckOutcome, examine, stage_checks
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH, open_workspace
from resources.jobs import crawl_assets, shard_assets


def build(recipe, stages, crawls=("c",), workers=1):
    """The artifacts of the stages, by key."""
    workspace = open_workspace(recipe)
    workspace.engine = LocalEngine(workers)
    crawl, shards = set(crawl_assets(GRAPH)), set(shard_assets(GRAPH))
    waves: list[list[Stage]] = [[], [], []]
    for stage in stages:
        waves[0 if stage.name in crawl else 1 if stage.name in shards else 2].append(stage)
    artifacts = {}
    for wave in waves:
        for stage in wave:
            for name in crawls if stage.per_crawl else [None]:
                key = f"{stage.name}/{name}" if name else stage.name
                artifacts[key] = materialize(stage, name, workspace).artifact
    return artifacts


def check(recipe, asset, name, crawl=None, changed=None) -> CheckOutcome:
    """What the check `name` of an asset finds in what the recipe resolves to, or in `changed` in its place."""
    workspace = open_workspace(recipe)
    resolution = workspace.resolver().resolve(asset, crawl)
    (chosen,) = [one for one in stage_checks(GRAPH[asset]) if one.name == name]
    if changed is None:
        return examine(chosen, resolution, workspace.recipe, workspace.store).outcome
    config = chosen.config(workspace.recipe, crawl) if chosen.config else resolution.config
    return chosen.examine(changed, resolution.inputs, config)
