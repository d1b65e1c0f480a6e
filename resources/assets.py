"""The one factory: every stage of the graph as a Dagster asset, with its checks.

A check runs in the step of its asset, with the partition that was just materialised.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from llm_assets.artifacts import Graph, Outcome, Stage, Workspace, materialize
from llm_assets.artifacts.checks import examine, stage_checks
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.identity import as_written, fingerprint

from .compute import Compute
from .duckdb import DuckDb
from .metadata import asset_metadata, check_result, crawls_built, materialisation_metadata, state_result
from .processes import pipes_launcher, progress_logger
from .recipe import ChosenRecipe
from .store import ArtifactStore
from .tracking import Tracking

CRAWLS = dg.DynamicPartitionsDefinition(name="crawl")
OWNER = "team:llm-assets"
CRAWLS_BUILT = "every_crawl_is_built"
UP_TO_DATE = "up_to_date"


def make_assets(graph: Graph, recipe: Any = None) -> list[dg.AssetsDefinition]:
    """An asset for each stage, in the graph's order. recipe: the one whose changes Dagster's stale status tells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of BackfillPolicy: once for each asset, in every command
        return [make_asset(stage, graph, recipe) for stage in graph]


def dagster_code_version(stage: Stage, recipe: Any) -> str:
    """The code version that Dagster is told: the stage's own, and a fingerprint of its slice of the recipe.

    So a changed recipe shows as a new code version. It is of the recipe as it is written: a crawl that is registered
    makes no code stale. A slice that is another for each crawl has no part in it, as an asset has one code version.
    """
    if recipe is None or stage.config_per_crawl:
        return stage.code_version
    return f"{stage.code_version}+{fingerprint(stage.config(as_written(recipe), None))[:8]}"


def make_asset(stage: Stage, graph: Graph, recipe: Any = None) -> dg.AssetsDefinition:
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
    specs.append(
        dg.AssetCheckSpec(
            UP_TO_DATE,
            asset=stage.name,
            description="The store has what the recipe asks for, and no code behind it has changed. Otherwise it says "
            "what would be built, and why. Looked at when the asset is materialised, and every minute.",
        )
    )

    @dg.asset(
        name=stage.name,
        deps=list(stage.inputs),
        group_name=stage.group,
        kinds=set(stage.kinds),
        description=stage.description,
        metadata=asset_metadata(stage),
        code_version=dagster_code_version(stage, recipe),
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
        spanned = [*sorted({*workspace.recipe.corpus(), *keys})] if stage.per_crawl else [None]
        told = explain(workspace, [(stage.name, crawl) for crawl in spanned])
        check_results.append(dg.AssetCheckResult(check_name=UP_TO_DATE, **state_result(told, workspace.recipe.name)))
        shown = {crawl: materialisation_metadata(stage, outcome, tracker.link) for crawl, outcome in outcomes.items()}
        versions = {crawl: outcome.artifact.data_version for crawl, outcome in outcomes.items()}
        # The recipe of the run need not be that of the code location.
        version = {"dagster/code_version": dagster_code_version(stage, workspace.recipe)}
        if len(crawls) == 1:
            (crawl,) = crawls
            yield dg.MaterializeResult(
                metadata=shown[crawl],
                data_version=dg.DataVersion(versions[crawl]),
                check_results=check_results,
                tags=version,
            )
            return
        yield dg.MaterializeResult(check_results=check_results, tags=version)
        # The event that Dagster makes of a result holds one version for all partitions: each is told its own after it.
        for crawl in crawls:
            tags = {"dagster/data_version": versions[crawl], **version}
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
