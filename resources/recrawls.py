"""Crawls over time: schedules that re-crawl, and sensors that refresh everything downstream of a new crawl.

A tick of a schedule registers a crawl that continues the latest built one of its prefix, and requests the job `crawl`.
When a crawl is built, by a schedule or by hand, `refresh_after_crawl` updates the search index and the report, and also
the model if the recipe's `recrawls` says so. It uses the recipe of the run that built the crawl.
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

import dagster as dg

from llm_assets.artifacts import Graph, Workspace
from llm_assets.compute import LocalEngine
from llm_assets.recipes import Recipe, Recrawl
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry

from .assets import CRAWLS
from .jobs import CRAWL_JOB, MODEL_JOB, crawl_assets
from .live_runs import UNFINISHED, close_killed_runs
from .recipe import ChosenRecipe
from .store import ArtifactStore

CRAWL_PARTITIONS = CRAWLS.name or "crawl"
PARTITION_TAG, BACKFILL_TAG = "dagster/partition", "dagster/backfill"
REFRESHES_TAG = "llm-assets/refreshes"  # of runs whose command refreshes the downstream assets itself
# Refreshed after every crawl. The recipe decides whether the model is refreshed too.
REFRESHED_ASSETS = ("page_versions", "search_index", "corpus_report")
LAST_CRAWL_ASSET = "clean_corpus"
SHARDS_ASSET = "token_shards"
# Dagster retries a run that fails or is killed, from the step it was at. What it has built is in the store.
RETRIES = {"dagster/max_retries": "2", "dagster/retry_strategy": "FROM_FAILURE"}


def built_crawls(workspace: Workspace, recrawl: Recrawl) -> list[str]:
    """A schedule's crawls that are built up to their corpus, oldest first. A crawl named like the prefix counts too.

    A crawl that was only fetched does not count: its pages are in no corpus, and a crawl that continued it would leave
    out the pages that changed in it.
    """
    crawls = [name for name in workspace.recipe.corpus() if name == recrawl.prefix or recrawl.owns(name)]
    return crawls_with_corpus(workspace, crawls)


def next_source(workspace: Workspace, recrawl: Recrawl, name: str) -> Any:
    """The source of a schedule's next crawl, which continues the latest built crawl of its prefix."""
    earlier = [crawl for crawl in built_crawls(workspace, recrawl) if crawl < name]
    if recrawl.incremental and earlier and "since" in type(recrawl.source).model_fields:
        return recrawl.source.replace(since=earlier[-1])
    return recrawl.source


def recrawl_schedule(recrawl: Recrawl, graph: Graph) -> dg.ScheduleDefinition:
    """The schedule of a `Recrawl` of the recipe. It is stopped until a user starts it."""

    @dg.schedule(
        name=recrawl.schedule_name,
        cron_schedule=recrawl.cron,
        job_name=CRAWL_JOB,
        description=f"Registers and builds {recrawl.prefix}-<date>, which continues the latest built crawl.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, recipe: ChosenRecipe, store: ArtifactStore
    ) -> dg.RunRequest | dg.SkipReason:
        time = context.scheduled_execution_time.astimezone(UTC)
        name = f"{recrawl.prefix}-{time.strftime('%Y-%m-%d')}"
        workspace = Workspace(recipe.load(), store.open(), graph, LocalEngine(1))
        close_killed_runs(context.instance)
        earlier_runs = context.instance.get_runs(dg.RunsFilter(job_name=CRAWL_JOB, tags={PARTITION_TAG: name}))
        running = [run.run_id for run in earlier_runs if run.status in UNFINISHED]
        if running:
            return dg.SkipReason(f"{name} is being built by run {running[0]}")
        if name not in workspace.recipe.sources():
            open_registry(load_settings()).add(name, next_source(workspace, recrawl, name))
        elif _is_built(workspace, name):
            return dg.SkipReason(f"{name} is built already; this schedule makes one crawl a day")
        context.instance.add_dynamic_partitions(CRAWL_PARTITIONS, [name])
        # A failed crawl is requested again at the next tick of the day, and continues from where it was.
        return dg.RunRequest(f"{name} {time.isoformat()}", _run_config(recipe.name), RETRIES, partition_key=name)

    return schedule


def _is_built(workspace: Workspace, crawl: str) -> bool:
    """Whether the store has everything that the job `crawl` builds."""
    resolver, graph = workspace.resolver(), workspace.graph
    keys = [(name, crawl if graph[name].per_crawl else None) for name in crawl_assets(graph)]
    return all(resolver.resolve(*key).artifact is not None for key in keys)


def _run_config(recipe: str) -> dict[str, Any]:
    """The run config that selects a recipe; empty for the environment's recipe."""
    return {"resources": {"recipe": {"config": {"name": recipe}}}} if recipe else {}


def recipe_of_run(run: dg.DagsterRun) -> Recipe:
    """The recipe of a run, with the registered crawls: the one chosen in its launchpad, or the environment's."""
    config = run.run_config.get("resources", {}) if isinstance(run.run_config, dict) else {}
    name = config.get("recipe", {}).get("config", {}).get("name", "")
    if isinstance(name, dict):  # {"env": …}: an environment variable holds the name
        name = os.environ.get(str(name.get("env", "")), "")
    return ChosenRecipe(name=name).load()


def crawls_of_run(run: dg.DagsterRun, partitions: Sequence[str]) -> list[str]:
    """The crawls of a run: its partition, or its range within `partitions`, in their order."""
    if PARTITION_TAG in run.tags:
        return [run.tags[PARTITION_TAG]]
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    if first not in partitions or last not in partitions:
        return []
    return list(partitions[partitions.index(first) : partitions.index(last) + 1])


def crawls_with_corpus(workspace: Workspace, crawls: Sequence[str]) -> list[str]:
    """The crawls whose clean corpus is built."""
    resolver = workspace.resolver()
    return [crawl for crawl in crawls if resolver.resolve(LAST_CRAWL_ASSET, crawl).artifact is not None]


def crawls_without_shards(workspace: Workspace, built: Sequence[str]) -> list[str]:
    """The built crawls that models are trained on and that have no token shards, because a run was lost."""
    resolver = workspace.resolver()
    trained = [name for name in workspace.recipe.trained_crawls() if name in built]
    return [name for name in trained if resolver.resolve(SHARDS_ASSET, name).artifact is None]


def builds_a_crawl(run: dg.DagsterRun) -> bool:
    """Whether a run built a crawl up to its corpus and does not refresh the downstream assets itself."""
    chosen = {key.to_user_string() for key in run.asset_selection or ()}
    built = LAST_CRAWL_ASSET in chosen if chosen else run.job_name == CRAWL_JOB
    return built and not set(REFRESHED_ASSETS) <= chosen and REFRESHES_TAG not in run.tags


def refresh_requests(
    run: dg.DagsterRun,
    recipe: Recipe,
    crawls: Sequence[str],
    without_shards: Callable[[], list[str]] = list,
    built: Sequence[str] = (),
) -> list[dg.RunRequest]:
    """What to materialise after a run that built these crawls: report and search index, or the whole job `model`.

    without_shards: returns the crawls that the model is trained on and whose token shards are missing. They are
    requested too. built: the crawls that are built now. Crawls built during the training are left to the next request.
    """
    config = _refresh_config(run, built)
    tags = {"llm-assets/after": run.run_id, **RETRIES}
    # Runs of a backfill that end together share a key, so that Dagster launches the request once.
    key = run.tags.get(BACKFILL_TAG, run.run_id)
    trained = [
        crawl for crawl in crawls for recrawl in recipe.recrawls if recrawl.owns(crawl) and recrawl.model != "leave"
    ]
    if trained:
        latest = max(trained)
        shards = [dg.AssetKey(SHARDS_ASSET)]
        requests = [
            dg.RunRequest(f"{key} {name}", config, tags, MODEL_JOB, partition_key=name, asset_selection=shards)
            for name in without_shards()
            if name != latest
        ]
        return [*requests, dg.RunRequest(key, config, tags, MODEL_JOB, partition_key=latest)]
    assets = [dg.AssetKey(name) for name in REFRESHED_ASSETS]
    return [dg.RunRequest(key, config, tags, MODEL_JOB, asset_selection=assets)]


def _refresh_config(run: dg.DagsterRun, built: Sequence[str]) -> dict[str, Any]:
    """The run's resource config, with `built` as the only crawls that a refresh may read."""
    resources = dict(run.run_config.get("resources", {})) if run.run_config else {}
    if built:
        recipe = dict(resources.get("recipe", {}))
        resources["recipe"] = {**recipe, "config": {**recipe.get("config", {}), "crawls": sorted(built)}}
    return {"resources": resources} if resources else {}


def refresh_sensor(jobs: list[Any], graph: Graph) -> dg.SensorDefinition:
    """A sensor that refreshes the assets downstream of a crawl when the run that built it has succeeded."""
    model = next(job for job in jobs if job.name == MODEL_JOB)

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="refresh_after_crawl",
        request_job=model,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=10,
        description="Refreshes the search index and corpus report after a crawl, and the model if the recipe says so.",
    )
    def refresh_after_crawl(
        context: dg.RunStatusSensorContext, store: ArtifactStore
    ) -> list[dg.RunRequest] | dg.SkipReason:
        run = context.dagster_run
        if not builds_a_crawl(run):
            return dg.SkipReason(f"run {run.run_id} built no crawl, or refreshes downstream assets itself")
        backfill = run.tags.get(BACKFILL_TAG)
        reason = reason_to_skip_backfill(context.instance, backfill) if backfill else ""
        if reason:
            return dg.SkipReason(reason)
        recipe = recipe_of_run(run)
        workspace = Workspace(recipe, store.open(), graph, LocalEngine(1))
        crawls = crawls_of_run(run, context.instance.get_dynamic_partitions(CRAWL_PARTITIONS))
        built = crawls_with_corpus(workspace, workspace.recipe.corpus())
        return refresh_requests(run, recipe, crawls, lambda: crawls_without_shards(workspace, built), built)

    return refresh_after_crawl


def reason_to_skip_backfill(instance: dg.DagsterInstance, backfill_id: str) -> str:
    """Why a backfill needs no refresh now; empty if it needs one."""
    backfill = instance.get_backfill(backfill_id)
    chosen = {key.to_user_string() for key in backfill.asset_selection or ()} if backfill else set()
    if set(REFRESHED_ASSETS) <= chosen:
        return f"backfill {backfill_id} refreshes downstream assets itself"
    close_killed_runs(instance)
    unfinished = instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: backfill_id}, statuses=UNFINISHED))
    return f"{len(unfinished)} runs of backfill {backfill_id} are not finished" if unfinished else ""


@dg.sensor(
    name="registered_crawls",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds the crawls of the recipe and the registry to Dagster's partitions.",
)
def registered_crawls(context: dg.SensorEvaluationContext, recipe: ChosenRecipe) -> dg.SensorResult | dg.SkipReason:
    """Make crawls of the recipe, and crawls registered on another machine's command line, appear in the UI."""
    known = set(context.instance.get_dynamic_partitions(CRAWL_PARTITIONS))
    missing = sorted(recipe.load().sources().keys() - known)
    if not missing:
        return dg.SkipReason("every crawl is already a partition")
    return dg.SensorResult(dynamic_partitions_requests=[CRAWLS.build_add_request(missing)])
