"""Crawls over time: schedules that re-crawl, and sensors that keep Dagster in step with what was crawled.

A tick of a schedule registers a crawl that continues the latest built one of its prefix, and asks for the job `crawl`.
When a crawl is built, by a schedule or by hand, `refresh_after_crawl` brings search index and report up to date, and the
model where the recipe's `recrawls` says so, under the recipe of the run that built it.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from llm_assets.artifacts import Graph, Workspace
from llm_assets.compute import LocalEngine
from llm_assets.recipes import Recipe, Recrawl
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry

from .assets import CRAWLS
from .jobs import CRAWL, MODEL, crawl_assets
from .recipe import ChosenRecipe
from .store import ArtifactStore

PARTITIONS = CRAWLS.name or "crawl"
PARTITION_TAG, BACKFILL_TAG = "dagster/partition", "dagster/backfill"
REFRESHES_TAG = "llm-assets/refreshes"  # a tag of runs whose command brings what follows itself
REFRESHED_ASSETS = (
    "page_versions",
    "search_index",
    "corpus_report",
)  # after every crawl; the model only as the recipe says
LAST_CRAWL_ASSET = "clean_corpus"
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
    """Crawls of a schedule's prefix, and the crawl called like it, that are built up to their corpus; oldest first.

    One that was only fetched is not read, so that a crawl that continued it would leave its changed pages out.
    """
    own = [name for name in workspace.recipe.corpus() if name == recrawl.prefix or recrawl.owns(name)]
    return with_corpus(workspace, own)


def next_source(workspace: Workspace, recrawl: Recrawl, name: str) -> Any:
    """The source of a schedule's next crawl: it continues the latest crawl of its prefix that is built."""
    earlier = [crawl for crawl in built_crawls(workspace, recrawl) if crawl < name]
    if recrawl.incremental and earlier and "since" in type(recrawl.source).model_fields:
        return recrawl.source.replace(since=earlier[-1])
    return recrawl.source


def recrawl_schedule(recrawl: Recrawl, graph: Graph) -> dg.ScheduleDefinition:
    """The schedule of one `Recrawl` of the recipe. Stopped until somebody starts it."""

    @dg.schedule(
        name=recrawl.schedule_name,
        cron_schedule=recrawl.cron,
        job_name=CRAWL,
        description=f"Registers {recrawl.prefix}-<date>, which continues the latest built crawl, and builds it.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, recipe: ChosenRecipe, store: ArtifactStore
    ) -> dg.RunRequest | dg.SkipReason:
        time = context.scheduled_execution_time
        name = f"{recrawl.prefix}-{time.strftime('%Y-%m-%d')}"
        workspace = Workspace(recipe.load(), store.open(), graph, LocalEngine(1))
        earlier_runs = context.instance.get_runs(dg.RunsFilter(job_name=CRAWL, tags={PARTITION_TAG: name}))
        running = [run.run_id for run in earlier_runs if run.status in UNFINISHED]
        if running:
            return dg.SkipReason(f"{name} is being built by run {running[0]}")
        if name not in workspace.recipe.sources():
            open_registry(load_settings()).add(name, next_source(workspace, recrawl, name))
        elif _is_whole(workspace, name):
            return dg.SkipReason(f"{name} is built already; this schedule makes one crawl a day")
        context.instance.add_dynamic_partitions(PARTITIONS, [name])
        # A crawl that failed is asked for again at the next tick of the day, and goes on where it was.
        return dg.RunRequest(f"{name} {time.isoformat()}", _config(recipe.name), RETRIES, partition_key=name)

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
    if isinstance(name, dict):  # {"env": …}: the launchpad names a variable
        name = os.environ.get(str(name.get("env", "")), "")
    return ChosenRecipe(name=name).load()


def crawls_of_run(run: dg.DagsterRun, partitions: Sequence[str]) -> list[str]:
    """The crawls that a run was for: its partition, or a range of all `partitions`, in their order."""
    if PARTITION_TAG in run.tags:
        return [run.tags[PARTITION_TAG]]
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    if first not in partitions or last not in partitions:
        return []
    return list(partitions[partitions.index(first) : partitions.index(last) + 1])


def with_corpus(workspace: Workspace, crawls: Sequence[str]) -> list[str]:
    """Those of the crawls whose corpus is built."""
    resolver = workspace.resolver()
    return [crawl for crawl in crawls if resolver.resolve(LAST_CRAWL_ASSET, crawl).artifact is not None]


def crawls_without_shards(workspace: Workspace, built: Sequence[str]) -> list[str]:
    """Those of the built crawls that models are trained on and whose token shards are missing: a run was lost."""
    resolver = workspace.resolver()
    trained = [name for name in workspace.recipe.trained_crawls() if name in built]
    return [name for name in trained if resolver.resolve(SHARDS, name).artifact is None]


def builds_a_crawl(run: dg.DagsterRun) -> bool:
    """Whether a run built a crawl to its end and does not refresh what follows itself."""
    chosen = {key.to_user_string() for key in run.asset_selection or ()}
    built = LAST_CRAWL_ASSET in chosen if chosen else run.job_name == CRAWL
    return built and not set(REFRESHED_ASSETS) <= chosen and REFRESHES_TAG not in run.tags


def requests_after(
    run: dg.DagsterRun,
    recipe: Recipe,
    crawls: Sequence[str],
    without_shards: Callable[[], list[str]] = list,
    built: Sequence[str] = (),
) -> list[dg.RunRequest]:
    """What to materialise after a run that built these crawls: report and search index, or the whole job `model`.

    without_shards: finds crawls that the model is trained on and whose shards are missing; they are asked for too.
    built: crawls that are built now. Those that are built while the model is trained are left to the request after them.
    """
    config = _refresh_config(run, built)
    tags = {"llm-assets/after": run.run_id, **RETRIES}
    # Of the runs of one backfill, all that end together ask for the same, once.
    key = run.tags.get(BACKFILL_TAG, run.run_id)
    trained = [
        crawl for crawl in crawls for recrawl in recipe.recrawls if recrawl.owns(crawl) and recrawl.model != "leave"
    ]
    if trained:
        latest = max(trained)
        shards = [dg.AssetKey(SHARDS)]
        requests = [
            dg.RunRequest(f"{key} {name}", config, tags, MODEL, partition_key=name, asset_selection=shards)
            for name in without_shards()
            if name != latest
        ]
        return [*requests, dg.RunRequest(key, config, tags, MODEL, partition_key=latest)]
    assets = [dg.AssetKey(name) for name in REFRESHED_ASSETS]
    return [dg.RunRequest(key, config, tags, MODEL, asset_selection=assets)]


def _refresh_config(run: dg.DagsterRun, built: Sequence[str]) -> dict[str, Any]:
    """The resources of a run, reading no crawls but these."""
    resources = dict(run.run_config.get("resources", {})) if run.run_config else {}
    if built:
        recipe = dict(resources.get("recipe", {}))
        resources["recipe"] = {**recipe, "config": {**recipe.get("config", {}), "crawls": sorted(built)}}
    return {"resources": resources} if resources else {}


def refresh_sensor(jobs: list[Any], graph: Graph) -> dg.SensorDefinition:
    """Refreshes what follows a crawl when the run that built it has succeeded."""
    model = next(job for job in jobs if job.name == MODEL)

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
        if not builds_a_crawl(run):
            return dg.SkipReason(f"run {run.run_id} built no crawl, or refreshes what follows itself")
        backfill = run.tags.get(BACKFILL_TAG)
        if backfill and (reason := why_to_leave_a_backfill(context.instance, backfill)):
            return dg.SkipReason(reason)
        recipe = recipe_of_run(run)
        workspace = Workspace(recipe, store.open(), graph, LocalEngine(1))
        crawls = crawls_of_run(run, context.instance.get_dynamic_partitions(PARTITIONS))
        built = with_corpus(workspace, workspace.recipe.corpus())
        return requests_after(run, recipe, crawls, lambda: crawls_without_shards(workspace, built), built)

    return refresh_after_crawl


def why_to_leave_a_backfill(instance: dg.DagsterInstance, backfill_id: str) -> str:
    """Why nothing is asked for after a run of a backfill: it refreshes what follows itself, or others of it still run."""
    backfill = instance.get_backfill(backfill_id)
    chosen = {key.to_user_string() for key in backfill.asset_selection or ()} if backfill else set()
    if set(REFRESHED_ASSETS) <= chosen:
        return f"backfill {backfill_id} refreshes what follows itself"
    unfinished = instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: backfill_id}, statuses=UNFINISHED))
    return f"{len(unfinished)} runs of backfill {backfill_id} are not finished" if unfinished else ""


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
