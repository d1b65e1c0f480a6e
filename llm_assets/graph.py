"""The asset graph without Dagster: the stages of every room, upstream first."""

from __future__ import annotations

from llm_assets import curation, finetuning, preference, pretraining, reinforcement, release, tokens, web
from llm_assets.artifacts import Graph, Workspace, open_store
from llm_assets.compute import LocalEngine
from llm_assets.recipes import Recipe, load_recipe
from llm_assets.settings import Settings, load_settings
from llm_assets.web.crawls import CrawlRegistry

ROOMS = (web, curation, tokens, pretraining, finetuning, reinforcement, preference, release)
GRAPH = Graph([stage for room in ROOMS for stage in room.stages()])


def registry(settings: Settings) -> CrawlRegistry:
    return CrawlRegistry(settings.data / "crawls")


def open_workspace(recipe: Recipe | str | None = None, settings: Settings | None = None) -> Workspace:
    """The workspace that the environment describes: recipe with registered crawls, store, workers."""
    settings = settings or load_settings()
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    store = open_store(settings.store, settings.data / "cache")
    return Workspace(registry(settings).effective(chosen), store, GRAPH, LocalEngine(settings.workers))
