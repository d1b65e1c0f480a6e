"""The code location: assets and checks of every stage, jobs, schedules, sensors, resources.

Importing it takes seconds; torch and mlflow wait. Steps run in one process: 0.04 s a step, where processes of their own
cost 1 to 2 s (benchmarks/dagster_steps.py), and what is heavy or may crash (training) has a process of its own anyway.
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
