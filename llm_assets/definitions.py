"""The Dagster code location: assets and checks of every stage, jobs, schedules, sensors, resources.

Importing it takes seconds, so torch and mlflow are imported only when they are used. All steps of a run share one
process: that costs 0.04 s per step, a process per step 1 to 2 s (benchmarks/dagster_steps.py). Whatever is heavy or may
crash (training) runs in a separate process anyway.
"""

import dagster as dg

from llm_assets.graph import GRAPH
from llm_assets.recipes import Recipe, load_recipe
from resources import ArtifactStore, ChosenRecipe, Compute, DuckDb, Tracking, make_assets
from resources.jobs import make_jobs
from resources.recrawls import recrawl_schedule, refresh_sensor, registered_crawls
from resources.state import state_sensor


def make_definitions(recipe: Recipe) -> dg.Definitions:
    """The definitions of a recipe, whose jobs do without the stages that it leaves out."""
    jobs = make_jobs(GRAPH, recipe)
    return dg.Definitions(
        assets=make_assets(GRAPH, recipe),
        jobs=jobs,
        schedules=[recrawl_schedule(recrawl, GRAPH) for recrawl in recipe.recrawls],
        sensors=[registered_crawls, refresh_sensor(jobs, GRAPH), state_sensor(GRAPH)],
        resources={
            "recipe": ChosenRecipe(),
            "store": ArtifactStore(),
            "compute": Compute(),
            "duckdb": DuckDb(),
            "tracking": Tracking(),
        },
        executor=dg.in_process_executor,
    )


_RECIPE = load_recipe()
defs = make_definitions(_RECIPE)


def definitions_for(recipe: Recipe) -> dg.Definitions:
    """`defs`, or other definitions if the recipe's stages read other stages than under the environment's recipe."""
    return defs if _parts(recipe) == _parts(_RECIPE) else make_definitions(recipe)


def _parts(recipe: Recipe) -> tuple[object, ...]:
    """What of a recipe decides about jobs and dependencies."""
    return GRAPH.left_out(recipe).keys(), GRAPH.on_demand(recipe), GRAPH.inputs(recipe)
