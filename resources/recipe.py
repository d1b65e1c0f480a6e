"""The resource that selects a run's recipe."""

import dagster as dg

from llm_assets.recipes import Recipe, load_recipe
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry


class ChosenRecipe(dg.ConfigurableResource):
    """The recipe of a run.

    name: a recipe's name, ``module:function`` or ``file.py:function``; empty for LLM_ASSETS_RECIPE, or else `laptop`.
    crawls: crawls that may count as built in the run, for assets that read several crawls; empty allows all. A refresh
    names the crawls that were built when it was requested, because a crawl that is built meanwhile would change the
    inputs of its later steps.
    """

    name: str = ""
    crawls: list[str] = []

    def load(self) -> Recipe:
        """The recipe with the registered crawls. Raises RecipeError, SourceError."""
        return open_registry(load_settings()).effective(load_recipe(self.name or None))

    def built(self) -> frozenset[str] | None:
        """The crawls that may count as built; None allows all."""
        return frozenset(self.crawls) or None
