"""Which recipe a run follows."""

import dagster as dg

from llm_assets.recipes import Recipe, load_recipe
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry


class ChosenRecipe(dg.ConfigurableResource):
    """`name`: a recipe's name, ``module:function`` or ``file.py:function``; empty for LLM_ASSETS_RECIPE or `laptop`.

    `crawls`: those that may count as built in the run, for assets that read several; empty is all. A refresh names the
    crawls that were built when it was asked for: one that is built meanwhile would change what its later steps read.
    """

    name: str = ""
    crawls: list[str] = []

    def load(self) -> Recipe:
        """The recipe with the crawls of the registry. Raises RecipeError, SourceError."""
        return open_registry(load_settings()).effective(load_recipe(self.name or None))

    def built(self) -> frozenset[str] | None:
        """The crawls that may count as built; None is all."""
        return frozenset(self.crawls) or None
