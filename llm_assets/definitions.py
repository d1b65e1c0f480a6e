"""The code location: gathers rooms, resources and schedules. Importing it takes seconds; torch and mlflow wait."""

import dagster as dg

from llm_assets.curation import assets as curation
from llm_assets.finetuning import assets as finetuning
from llm_assets.preference import assets as preference
from llm_assets.pretraining import assets as pretraining
from llm_assets.recipes import load_recipe
from llm_assets.reinforcement import assets as reinforcement
from llm_assets.release import assets as release
from llm_assets.tokens import assets as tokens
from llm_assets.web import assets as web
from llm_assets.web.schedules import recrawl_schedule, registered_crawls
from resources.artifacts import Artifacts
from resources.compute import Compute
from resources.tracking import Tracking

_ROOMS = [web, curation, tokens, pretraining, finetuning, reinforcement, preference, release]

everything = dg.define_asset_job("everything", selection=dg.AssetSelection.all(), description="The whole graph for one crawl.")

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(_ROOMS),
    asset_checks=[*dg.load_asset_checks_from_modules(_ROOMS)],
    jobs=[everything],
    schedules=[recrawl_schedule(recrawl, everything) for recrawl in load_recipe().recrawls],
    sensors=[registered_crawls],
    resources={"artifacts": Artifacts(compute=Compute(), tracking=Tracking())},
    executor=dg.in_process_executor,
)
