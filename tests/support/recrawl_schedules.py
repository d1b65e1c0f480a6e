"""Dagster definitions with the re-crawl schedules of the chosen recipe, and their ticks."""

from datetime import UTC, datetime

import dagster as dg

from llm_assets.definitions import make_definitions
from llm_assets.recipes import load_recipe
from resources import ArtifactStore, ChosenRecipe


def definitions():
    """The code location as it is loaded now, with the schedules of the recipe that the environment names."""
    return make_definitions(load_recipe())


def tick(defs, instance, day, hour=0, name="recrawl_site"):
    """The result of the schedule's tick on a day of November 2026: run requests, or why it was skipped."""
    with dg.build_schedule_context(
        instance=instance,
        repository_def=defs.get_repository_def(),
        scheduled_execution_time=datetime(2026, 11, day, hour, tzinfo=UTC),
        resources={"recipe": ChosenRecipe(), "store": ArtifactStore()},
    ) as context:
        return defs.resolve_schedule_def(name).evaluate_tick(context)
