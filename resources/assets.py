"""The one factory: every stage of the graph as a Dagster asset, with its checks.

A check runs in the step of its asset, with the partition that was just materialised.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from llm_assets.artifacts import Graph, Outcome, Stage, Workspace, materialize
from llm_assets.artifacts.checks import examine, stage_checks

from .compute import Compute
from .duckdb import DuckDb
from .metadata import asset_metadata, check_result, crawls_built, materialisation_metadata
from .processes import pipes_launcher, progress_logger
from .recipe import ChosenRecipe
from .store import ArtifactStore
from .tracking import Tracking

CRAWLS = dg.DynamicPartitionsDefinition(name="crawl")
OWNER = "team:llm-assets"
CRAWLS_BUILT = "every_crawl_is_built"


def make_assets(graph: Graph) -> list[dg.AssetsDefinition]:
    """An asset for each stage, in the graph's order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of BackfillPolicy: once for each asset, in every command
        return [make_asset(stage, graph) for stage in graph]


def make_asset(stage: Stage, graph: Graph) -> dg.AssetsDefinition:
    """The asset of a stage: materialising it looks the artifact up, builds it on a miss, and runs its checks."""
    checks = stage_checks(stage)
    specs = [
        dg.AssetCheckSpec(check.name, asset=stage.name, description=check.description, blocking=check.blocking)
        for check in checks
    ]
    reads_crawls = reads_crawls_first(stage, graph)
    if reads_crawls:
        description = "Every crawl that the recipe would have it read is built."
        specs.append(dg.AssetCheckSpec(CRAWLS_BUILT, asset=stage.name, description=description))

    @dg.asset(
        name=stage.name,
        deps=list(stage.inputs),
        group_name=stage.group,
        kinds=set(stage.kinds),
        description=stage.description,
        metadata=asset_metadata(stage),
        code_version=stage.code_version,
        partitions_def=CRAWLS if stage.per_crawl else None,
        # One run may take several crawls: --partition-range, and the waves of a backfill.
        backfill_policy=dg.BackfillPolicy.single_run(),
        owners=[OWNER],
        pool=stage.pool,
        check_specs=specs,
    )
    def body(
        context: dg.AssetExecutionContext,
        recipe: ChosenRecipe,
        store: ArtifactStore,
        compute: Compute,
        duckdb: DuckDb,
        tracking: Tracking,
    ) -> Iterator[Any]:
        duckdb.apply()
        compute.apply_devices()
        tracker = tracking.tracker(context.run_id)
        engine, launcher = compute.open_engine(), pipes_launcher(context)
        workspace = Workspace(
            recipe.load(), store.open(), graph, engine, tracker, context.run_id, launcher, recipe.built()
        )
        # Within a run for a partition, an asset without partitions sees that partition's key too.
        keys = graph.crawl_order(workspace.recipe, list(context.partition_keys)) if stage.per_crawl else []
        crawls: list[str | None] = [*keys] if stage.per_crawl else [None]
        listen = [progress_logger(context.log)]
        outcomes = {
            crawl: _retried(stage, lambda crawl=crawl: materialize(stage, crawl, workspace, listen)) for crawl in crawls
        }
        results = {
            outcome.artifact.record.key: [
                examine(check, outcome.resolution, workspace.recipe, workspace.store) for check in checks
            ]
            for outcome in outcomes.values()
        }
        check_results = [
            check_result({key: found[place] for key, found in results.items()}) for place in range(len(checks))
        ]
        if reads_crawls:
            check_results.append(crawls_built(CRAWLS_BUILT, outcomes[None]))
        shown = {crawl: materialisation_metadata(stage, outcome, tracker.link) for crawl, outcome in outcomes.items()}
        versions = {crawl: outcome.artifact.data_version for crawl, outcome in outcomes.items()}
        if len(crawls) == 1:
            (crawl,) = crawls
            yield dg.MaterializeResult(
                metadata=shown[crawl], data_version=dg.DataVersion(versions[crawl]), check_results=check_results
            )
            return
        yield dg.MaterializeResult(check_results=check_results)
        # The event that Dagster makes of a result holds one version for all partitions: each is told its own after it.
        for crawl in crawls:
            tags = {"dagster/data_version": versions[crawl], "dagster/code_version": stage.code_version}
            yield dg.AssetMaterialization(stage.name, partition=crawl, metadata=shown[crawl], tags=tags)

    return body


def reads_crawls_first(stage: Stage, graph: Graph) -> bool:
    """Whether an asset without a partition reads crawls themselves, not only what others made of all of them."""
    return (
        not stage.per_crawl
        and any(graph[name].per_crawl and not graph.spans_crawls(name) for name in stage.inputs)
        and not any(graph.spans_crawls(name) for name in stage.inputs)
    )


def _retried(stage: Stage, work: Callable[[], Outcome]) -> Outcome:
    """The work's outcome; where it fails by what the stage says may pass, Dagster runs the step again."""
    if stage.retry is None:
        return work()
    try:
        return work()
    except stage.retry.on as error:
        raise dg.RetryRequested(max_retries=stage.retry.times, seconds_to_wait=stage.retry.seconds) from error
