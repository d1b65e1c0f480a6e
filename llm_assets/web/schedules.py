"""Schedules that re-crawl: register a new crawl, continuing the latest of its prefix, and run the graph for it; and
the sensor that shows every crawl of the recipe and the registry to Dagster as a partition.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from llm_assets.graph import registry
from llm_assets.recipes import Recipe, Recrawl, load_recipe
from llm_assets.settings import load_settings
from resources.artifacts import CRAWLS


def next_crawl(recipe: Recipe, recrawl: Recrawl, date: str) -> tuple[str, object]:
    """Name and source of the crawl that a schedule registers on `date` (YYYY-MM-DD)."""
    name = f"{recrawl.prefix}-{date}"
    known = sorted(crawl for crawl in recipe.crawls if (crawl == recrawl.prefix or crawl.startswith(f"{recrawl.prefix}-")) and crawl < name)
    source = recrawl.source
    if recrawl.incremental and known and "since" in type(source).model_fields:
        source = source.but(since=known[-1])
    return name, source


def recrawl_schedule(recrawl: Recrawl, job: Any) -> dg.ScheduleDefinition:
    """The schedule of one `Recrawl` of the recipe. Stopped until somebody starts it."""

    @dg.schedule(name=f"recrawl_{recrawl.prefix.replace('-', '_').replace('.', '_')}", cron_schedule=recrawl.cron, job=job, description=f"Registers {recrawl.prefix}-<date> and runs the graph for it.")
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        crawls = registry(load_settings())
        name, source = next_crawl(crawls.effective(load_recipe()), recrawl, context.scheduled_execution_time.strftime("%Y-%m-%d"))
        crawls.add(name, source)
        context.instance.add_dynamic_partitions(CRAWLS.name or "crawl", [name])
        yield dg.RunRequest(run_key=name, partition_key=name)

    return schedule


@dg.sensor(name="registered_crawls", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING, description="Adds crawls of the recipe and the registry to Dagster's partitions.")
def registered_crawls(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """A crawl that a recipe names, or that was registered on another machine's command line, appears in the UI."""
    known = set(context.instance.get_dynamic_partitions(CRAWLS.name or "crawl"))
    missing = sorted(registry(load_settings()).effective(load_recipe()).crawls.keys() - known)
    if not missing:
        return dg.SkipReason("every crawl is a partition already")
    return dg.SensorResult(dynamic_partitions_requests=[CRAWLS.build_add_request(missing)])
