"""Dagster definitions with the re-crawl schedules of the chosen recipe, and their ticks."""

from datetime import UTC, datetime

import dagster as dg

from llm_assets.graph import GRAPH
from llm_assets.recipes import load_recipe
from resources import ArtifactStore, ChosenRecipe, Compute, DuckDb, Tracking, make_assets
from resources.jobs import make_jobs
from resources.recrawls import recrawl_schedule


def definitions():
    """The code location as it is loaded now, with the schedules of the recipe that the environment names."""
    return dg.Definitions(
        assets=make_assets(GRAPH),
        jobs=make_jobs(GRAPH),
        schedules=[recrawl_schedule(recrawl, GRAPH) for recrawl in load_recipe().recrawls],
        resources={
            "recipe": ChosenRecipe(),
            "store": ArtifactStore(),
            "compute": Compute(),
            "duckdb": DuckDb(),
            "tracking": Tracking(),
        },
        executor=dg.in_process_executor,
    )


def tick(defs, instance, day, hour=0, name="recrawl_site"):
    """The result of the schedule's tick on a day of November 2026: run requests, or why it was skipped."""
    with dg.build_schedule_context(
        instance=instance,
        repository_def=defs.get_repository_def(),
        scheduled_execution_time=datetime(2026, 11, day, hour, tzinfo=UTC),
        resources={"recipe": ChosenRecipe(), "store": ArtifactStore()},
    ) as context:
        return defs.resolve_schedule_def(name).evaluate_tick(context)
