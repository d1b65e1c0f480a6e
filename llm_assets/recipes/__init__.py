"""Typed recipes: a run's whole configuration is one frozen object returned by a function."""

from .dial import RECIPES, laptop
from .load import RecipeError, load_recipe
from .recipe import (
    Blocklists,
    BlocklistSource,
    CommonCrawl,
    Extraction,
    Language,
    Recipe,
    Recrawl,
    SampleWeb,
    Source,
    UrlFilter,
    WarcFiles,
    WebCrawl,
    parse_source,
)

__all__ = [
    "RECIPES", "BlocklistSource", "Blocklists", "CommonCrawl", "Extraction", "Language", "Recipe", "RecipeError", "Recrawl",
    "SampleWeb", "Source", "UrlFilter", "WarcFiles", "WebCrawl", "laptop", "load_recipe", "parse_source",
]  # fmt: skip
