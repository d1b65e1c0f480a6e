"""Makes a Dagster asset, with its checks, from every stage of the graph.

A check runs in the step of its asset, for the partition that was just materialised.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg

from llm_assets.artifacts import Check, Graph, Outcome, Stage, Workspace, materialize
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


def make_assets(graph: Graph, recipe: Any = None) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """An asset for each stage, in the graph's order.

    recipe: the recipe whose changes Dagster shows as stale assets; None shows none. A stage that it leaves out is an
    asset that nothing materialises, so that *Materialize all* and ``--select '*'`` do without it.
    """
    left_out = graph.left_out(recipe) if recipe is not None else {}
    inputs = graph.inputs(recipe) if recipe is not None else {stage.name: list(stage.inputs) for stage in graph}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # BackfillPolicy raises it once per asset, in every command
        return [
            left_out_asset(stage, left_out[stage.name])
            if stage.name in left_out
            else make_asset(stage, graph, recipe, inputs[stage.name])
            for stage in graph
        ]


def left_out_asset(stage: Stage, reason: str) -> dg.AssetSpec:
    """The asset of a stage that the recipe leaves out: it says why on its page, and no run can select it."""
    return dg.AssetSpec(
        stage.name,
        deps=list(stage.inputs),
        group_name=stage.group,
        kinds=set(stage.kinds),
        description=f"Left out: {reason}.\n\n{stage.description}",
        metadata={"left_out": reason, **asset_metadata(stage)},
        partitions_def=CRAWLS if stage.per_crawl else None,
        owners=[OWNER],
    )


def dagster_code_version(stage: Stage, recipe: Any) -> str:
    """The code version that Dagster gets: the stage's own, and a fingerprint of its slice of the recipe.

    A changed recipe therefore shows as a new code version. The fingerprint covers the recipe as written, so that a
    newly registered crawl makes no asset stale. It leaves out a slice that differs between crawls, because an asset has
    a single code version.
    """
    if recipe is None or stage.config_per_crawl:
        return stage.code_version
    return f"{stage.code_version}+{fingerprint(stage.config(as_written(recipe), None))[:8]}"


def make_asset(stage: Stage, graph: Graph, recipe: Any, inputs: list[str]) -> dg.AssetsDefinition:
    """The asset of a stage. Materialising it looks the artifact up, builds it if it is missing, and runs its checks.

    inputs: names of the assets that it reads under the recipe.
    """

    @dg.asset(
        name=stage.name,
        deps=inputs,
        group_name=stage.group,
        kinds=set(stage.kinds),
        description=stage.description,
        metadata=asset_metadata(stage),
        code_version=dagster_code_version(stage, recipe),
        partitions_def=CRAWLS if stage.per_crawl else None,
        # A run may materialise several crawls: with --partition-range, and as a wave of a backfill.
        backfill_policy=dg.BackfillPolicy.single_run(),
        owners=[OWNER],
        pool=stage.pool,
        check_specs=check_specs(stage, graph),
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
        workspace = Workspace(
            recipe.load(),
            store.open(),
            graph,
            compute.open_engine(),
            tracking.tracker(context.run_id),
            context.run_id,
            pipes_launcher(context),
            recipe.built(),
        )
        # In a run for a partition, an asset without partitions sees that partition's key too.
        crawls = graph.crawl_order(workspace.recipe, list(context.partition_keys)) if stage.per_crawl else [None]
        yield from StepOfAsset(stage, workspace, crawls, [progress_logger(context.log)]).results()

    return body


def check_specs(stage: Stage, graph: Graph) -> list[dg.AssetCheckSpec]:
    """The checks of an asset: those of its stage, `every_crawl_is_built` where it applies, and `up_to_date`."""
    specs = [
        dg.AssetCheckSpec(check.name, asset=stage.name, description=check.description, blocking=check.blocking)
        for check in stage_checks(stage)
    ]
    if reads_crawls_first(stage, graph):
        description = "Every crawl of the recipe that the asset reads is built."
        specs.append(dg.AssetCheckSpec(CRAWLS_BUILT, asset=stage.name, description=description))
    description = (
        "The store has what the recipe asks for, and its code has not changed since. Otherwise, the check says what "
        "would be built, and why. It runs at every materialisation, and every minute."
    )
    specs.append(dg.AssetCheckSpec(UP_TO_DATE, asset=stage.name, description=description))
    return specs


@dataclass(frozen=True)
class StepOfAsset:
    """A step of a run: materialises a stage for some crawls and reports the results to Dagster.

    crawls: ordered so that each comes after those that it continues; ``[None]`` for an asset without partitions.
    """

    stage: Stage
    workspace: Workspace
    crawls: list[Any]
    listeners: list[Any]

    def results(self) -> Iterator[Any]:
        """Materialise, then yield Dagster's events."""
        outcomes = {crawl: self._materialize(crawl) for crawl in self.crawls}
        check_results = self._check_results(outcomes)
        link = self.workspace.tracker.link
        metadata = {crawl: materialisation_metadata(self.stage, outcome, link) for crawl, outcome in outcomes.items()}
        versions = {crawl: outcome.artifact.data_version for crawl, outcome in outcomes.items()}
        # The run's recipe may differ from that of the code location.
        code_version = {"dagster/code_version": dagster_code_version(self.stage, self.workspace.recipe)}
        if len(self.crawls) == 1:
            (crawl,) = self.crawls
            yield dg.MaterializeResult(
                metadata=metadata[crawl],
                data_version=dg.DataVersion(versions[crawl]),
                check_results=check_results,
                tags=code_version,
            )
            return
        yield dg.MaterializeResult(check_results=check_results, tags=code_version)
        # This result has one data version for all partitions, so each partition gets an event of its own after it.
        for crawl in self.crawls:
            tags = {"dagster/data_version": versions[crawl], **code_version}
            yield dg.AssetMaterialization(self.stage.name, partition=crawl, metadata=metadata[crawl], tags=tags)

    def _materialize(self, crawl: str | None) -> Outcome:
        return _retried(self.stage, lambda: materialize(self.stage, crawl, self.workspace, self.listeners))

    def _check_results(self, outcomes: dict[Any, Outcome]) -> list[dg.AssetCheckResult]:
        """Run all checks of the asset, each over all crawls."""
        results = [self._check(check, outcomes) for check in stage_checks(self.stage)]
        if reads_crawls_first(self.stage, self.workspace.graph):
            results.append(crawls_built(CRAWLS_BUILT, outcomes[None]))
        recipe = self.workspace.recipe
        spanned = [*sorted({*recipe.corpus(), *self.crawls})] if self.stage.per_crawl else [None]
        explanations = explain(self.workspace, [(self.stage.name, crawl) for crawl in spanned])
        results.append(dg.AssetCheckResult(check_name=UP_TO_DATE, **state_result(explanations, recipe.name)))
        return results

    def _check(self, check: Check, outcomes: dict[Any, Outcome]) -> dg.AssetCheckResult:
        recipe, store = self.workspace.recipe, self.workspace.store
        by_key = {
            outcome.artifact.record.key: examine(check, outcome.resolution, recipe, store)
            for outcome in outcomes.values()
        }
        return check_result(by_key)


def reads_crawls_first(stage: Stage, graph: Graph) -> bool:
    """Whether an asset without partitions reads artifacts of single crawls and no other cross-crawl artifact."""
    return (
        not stage.per_crawl
        and any(graph[name].per_crawl and not graph.spans_crawls(name) for name in stage.inputs)
        and not any(graph.spans_crawls(name) for name in stage.inputs)
    )


def _retried(stage: Stage, work: Callable[[], Outcome]) -> Outcome:
    """Call `work`; after an error that the stage's `retry` names, ask Dagster to run the step again."""
    if stage.retry is None:
        return work()
    try:
        return work()
    except stage.retry.on as error:
        raise dg.RetryRequested(max_retries=stage.retry.times, seconds_to_wait=stage.retry.seconds) from error
