"""Crawls over time: schedules that re-crawl, and sensors that keep Dagster in step with what was crawled.

A tick of a schedule registers a crawl that continues the latest built one of its prefix, and asks for the job `crawl`.
When a crawl is built, by a schedule or by hand, `refresh_after_crawl` brings search index and report up to date, and the
model where the recipe's `recrawls` says so, under the recipe of the run that built it.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from llm_assets.artifacts import Graph, Workspace
from llm_assets.compute import LocalEngine
from llm_assets.recipes import Recipe, Recrawl, load_recipe
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry

from .assets import CRAWLS
from .jobs import crawl_assets
from .recipe import ChosenRecipe
from .store import ArtifactStore

PARTITIONS = CRAWLS.name or "crawl"
PARTITION_TAG = "dagster/partition"
REFRESHED = ("search_index", "corpus_report")  # after every crawl; the model only as the recipe says
LAST_OF_CRAWL = "clean_corpus"
SHARDS = "token_shards"
# A run that fails or is killed is tried again by Dagster, from the step it was at; what it built is in the store.
RETRIES = {"dagster/max_retries": "2", "dagster/retry_strategy": "FROM_FAILURE"}
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def built_crawls(workspace: Workspace, recrawl: Recrawl) -> list[str]:
    """Crawls of a schedule's prefix, and the crawl called like it, whose pages are in the store; oldest first."""
    resolver = workspace.resolver()
    names = [name for name in workspace.recipe.corpus() if name == recrawl.prefix or recrawl.owns(name)]
    return [name for name in names if resolver.resolve("raw_warc", name).artifact is not None]


def next_source(workspace: Workspace, recrawl: Recrawl, name: str) -> Any:
    """The source of a schedule's next crawl: it continues the latest crawl of its prefix that is built."""
    earlier = [crawl for crawl in built_crawls(workspace, recrawl) if crawl < name]
    if recrawl.incremental and earlier and "since" in type(recrawl.source).model_fields:
        return recrawl.source.but(since=earlier[-1])
    return recrawl.source


def recrawl_schedule(recrawl: Recrawl, graph: Graph) -> dg.ScheduleDefinition:
    """The schedule of one `Recrawl` of the recipe. Stopped until somebody starts it."""

    @dg.schedule(
        name=f"recrawl_{recrawl.prefix.replace('-', '_').replace('.', '_')}",
        cron_schedule=recrawl.cron,
        job_name="crawl",
        description=f"Registers {recrawl.prefix}-<date>, which continues the latest built crawl, and builds it.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, recipe: ChosenRecipe, store: ArtifactStore
    ) -> dg.RunRequest | dg.SkipReason:
        crawls = open_registry(load_settings())
        name = f"{recrawl.prefix}-{context.scheduled_execution_time.strftime('%Y-%m-%d')}"
        workspace = Workspace(recipe.load(), store.open(), graph, LocalEngine(1))
        earlier_runs = context.instance.get_runs(dg.RunsFilter(job_name="crawl", tags={PARTITION_TAG: name}))
        running = [run.run_id for run in earlier_runs if run.status in UNFINISHED]
        if running:
            return dg.SkipReason(f"{name} is being built by run {running[0]}")
        if name in built_crawls(workspace, recrawl) and _is_whole(workspace, name):
            return dg.SkipReason(f"{name} is built already; this schedule makes one crawl a day")
        if name not in workspace.recipe.sources():
            crawls.add(name, next_source(workspace, recrawl, name))
        context.instance.add_dynamic_partitions(PARTITIONS, [name])
        # A crawl that failed is asked for again at the next tick of the day, and goes on where it was.
        return dg.RunRequest(
            tags=RETRIES, run_key=f"{name}-{len(earlier_runs) + 1}", partition_key=name, run_config=_config(recipe.name)
        )

    return schedule


def _is_whole(workspace: Workspace, crawl: str) -> bool:
    resolver, graph = workspace.resolver(), workspace.graph
    keys = [(name, crawl if graph[name].per_crawl else None) for name in crawl_assets(graph)]
    return all(resolver.resolve(*key).artifact is not None for key in keys)


def _config(recipe: str) -> dict[str, Any]:
    return {"resources": {"recipe": {"config": {"name": recipe}}}} if recipe else {}


def recipe_of_run(run: dg.DagsterRun) -> Recipe:
    """The recipe that a run followed: the one chosen in its launchpad, or the environment's; with registered crawls."""
    config = run.run_config.get("resources", {}) if isinstance(run.run_config, dict) else {}
    name = config.get("recipe", {}).get("config", {}).get("name", "")
    return open_registry(load_settings()).effective(load_recipe(name or None))


def crawls_without_shards(workspace: Workspace) -> list[str]:
    """Crawls that models are trained on whose corpus is built and whose token shards are not: an earlier run was lost."""
    resolver = workspace.resolver()
    built = [
        name for name in workspace.recipe.trained_crawls() if resolver.resolve(LAST_OF_CRAWL, name).artifact is not None
    ]
    return [name for name in built if resolver.resolve(SHARDS, name).artifact is None]


def requests_after(
    run: dg.DagsterRun, recipe: Recipe, without_shards: Callable[[], list[str]] = list
) -> list[dg.RunRequest]:
    """What to materialise after a run that built a crawl: report and search index, or the whole job `model`.

    without_shards: finds crawls that the model is trained on and whose shards are missing; they are asked for too.
    """
    chosen = {key.to_user_string() for key in run.asset_selection or ()}
    built = LAST_OF_CRAWL in chosen if chosen else run.job_name == "crawl"
    if not built or set(REFRESHED) <= chosen:
        return []
    config = {"resources": dict(run.run_config.get("resources", {}))} if run.run_config else {}
    crawl = run.tags.get(PARTITION_TAG)
    tags = {"llm-assets/after": run.run_id, **RETRIES}
    owner = next((recrawl for recrawl in recipe.recrawls if crawl and recrawl.owns(crawl)), None)
    if owner is not None and owner.model != "leave":
        lost = [name for name in without_shards() if name != crawl]
        shards = [dg.AssetKey(SHARDS)]
        requests = [
            dg.RunRequest(f"{run.run_id}-{name}", config, tags, "model", partition_key=name, asset_selection=shards)
            for name in lost
        ]
        return [*requests, dg.RunRequest(run.run_id, config, tags, job_name="model", partition_key=crawl)]
    assets = [dg.AssetKey(name) for name in REFRESHED]
    return [dg.RunRequest(run.run_id, config, tags, job_name="model", asset_selection=assets)]


def refresh_sensor(jobs: list[Any], graph: Graph) -> dg.SensorDefinition:
    """Refreshes what follows a crawl when the run that built it has succeeded."""
    model = next(job for job in jobs if job.name == "model")

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="refresh_after_crawl",
        request_job=model,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=10,
        description="After a crawl: search index and corpus report; the model as the recipe's recrawls say.",
    )
    def refresh_after_crawl(
        context: dg.RunStatusSensorContext, store: ArtifactStore
    ) -> list[dg.RunRequest] | dg.SkipReason:
        run = context.dagster_run
        backfill = run.tags.get("dagster/backfill")
        if backfill and _brings_the_rest(context.instance, backfill):
            return dg.SkipReason(f"backfill {backfill} refreshes what follows itself")
        recipe = recipe_of_run(run)
        workspace = Workspace(recipe, store.open(), graph, LocalEngine(1))
        requests = requests_after(run, recipe, lambda: crawls_without_shards(workspace))
        return requests or dg.SkipReason(f"run {run.run_id} built no crawl, or refreshed what follows itself")

    return refresh_after_crawl


def _brings_the_rest(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    backfill = instance.get_backfill(backfill_id)
    chosen = {key.to_user_string() for key in backfill.asset_selection or ()} if backfill else set()
    return set(REFRESHED) <= chosen


@dg.sensor(
    name="registered_crawls",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds crawls of the recipe and the registry to Dagster's partitions.",
)
def registered_crawls(context: dg.SensorEvaluationContext, recipe: ChosenRecipe) -> dg.SensorResult | dg.SkipReason:
    """A crawl that a recipe names, or that was registered on another machine's command line, appears in the UI."""
    known = set(context.instance.get_dynamic_partitions(PARTITIONS))
    missing = sorted(recipe.load().sources().keys() - known)
    if not missing:
        return dg.SkipReason("every crawl is a partition already")
    return dg.SensorResult(dynamic_partitions_requests=[CRAWLS.build_add_request(missing)])
