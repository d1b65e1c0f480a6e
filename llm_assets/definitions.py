"""The Dagster code location: assets and checks of every stage, jobs, schedules, sensors, resources.

Importing it takes seconds, so torch and mlflow are imported only when they are used. All steps of a run share one
process: that costs 0.04 s per step, a process per step 1 to 2 s (benchmarks/dagster_steps.py). Whatever is heavy or may
crash (training) runs in a separate process anyway.
"""

import dagster as dg

from llm_assets.graph import GRAPH
from llm_assets.recipes import load_recipe
from resources import ArtifactStore, ChosenRecipe, Compute, DuckDb, Tracking, make_assets
from resources.jobs import make_jobs
from resources.recrawls import recrawl_schedule, refresh_sensor, registered_crawls
from resources.state import state_sensor

_JOBS = make_jobs(GRAPH)
_RECIPE = load_recipe()

defs = dg.Definitions(
    assets=make_assets(GRAPH, _RECIPE),
    jobs=_JOBS,
    schedules=[recrawl_schedule(recrawl, GRAPH) for recrawl in _RECIPE.recrawls],
    sensors=[registered_crawls, refresh_sensor(_JOBS, GRAPH), state_sensor(GRAPH)],
    resources={
        "recipe": ChosenRecipe(),
        "store": ArtifactStore(),
        "compute": Compute(),
        "duckdb": DuckDb(),
        "tracking": Tracking(),
    },
    executor=dg.in_process_executor,
)
