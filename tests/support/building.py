"""Stages of a recipe built in this process, wave by wave, as a Dagster backfill builds them."""

from llm_assets.artifacts import Stage, materialize
from llm_assets.artifacts.checks import CheckOutcome, examine, stage_checks
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH, open_workspace
from resources.jobs import crawl_assets, shard_assets


def build(recipe, stages, crawls=("c",), workers=1):
    """Build the stages for these crawls; the artifacts by key.

    First all per-crawl stages up to the corpus, then the shards of all crawls, then what spans crawls.
    """
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
    """The outcome of an asset's check `name` on the artifact of the recipe, or on `changed` instead."""
    workspace = open_workspace(recipe)
    resolution = workspace.resolver().resolve(asset, crawl)
    (check,) = [check for check in stage_checks(GRAPH[asset]) if check.name == name]
    if changed is None:
        return examine(check, resolution, workspace.recipe, workspace.store).outcome
    config = check.config(workspace.recipe, crawl) if check.config else resolution.config
    return check.examine(changed, resolution.inputs, config)
