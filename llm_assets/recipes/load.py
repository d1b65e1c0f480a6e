"""Find a recipe by name, ``module:function`` or ``file.py:function``; with ``@crawl,crawl`` it reads these alone."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path

from pydantic import ValidationError

from .dial import RECIPES
from .recipe import Recipe


class RecipeError(Exception):
    """A recipe that cannot be found or holds an impossible value; the message names the field."""


def describe(error: ValidationError) -> str:
    """pydantic's errors as one line: field, problem, value."""
    return "; ".join(f"{'.'.join(str(part) for part in item['loc']) or 'recipe'}: {item['msg']} (got {str(item.get('input'))[:80]!r})" for item in error.errors())


def chosen_recipe(reference: str | None = None) -> str:
    """What names the recipe: `reference`, or LLM_ASSETS_RECIPE, or `laptop`."""
    return reference or os.environ.get("LLM_ASSETS_RECIPE") or "laptop"


def split_crawls(reference: str) -> tuple[str, tuple[str, ...]]:
    """``laptop@mine,site`` as ``laptop`` and the crawls that it reads in the place of its own. A path may hold an @."""
    place, colon, function = reference.rpartition(":")
    function, _, crawls = function.partition("@")
    return f"{place}{colon}{function}", tuple(crawl for crawl in crawls.split(",") if crawl)


def with_crawls(reference: str, crawls: list[str]) -> str:
    """The same recipe, reading these crawls in the place of its own."""
    return f"{split_crawls(reference)[0]}@{','.join(crawls)}"


def load_recipe(reference: str | None = None) -> Recipe:
    """The recipe named by `reference`, or by LLM_ASSETS_RECIPE, or `laptop`.

    Raises RecipeError with what was looked for and where.
    """
    reference, crawls = split_crawls(chosen_recipe(reference))
    recipe = _load(reference)
    return recipe.reading_only(crawls) if crawls else recipe


def _load(reference: str) -> Recipe:
    try:
        if reference in RECIPES:
            return RECIPES[reference]()
        place, _, function = reference.rpartition(":")
        if not place:
            raise RecipeError(f"no recipe {reference!r}: use one of {', '.join(RECIPES)}, module:function or file.py:function")
        if place.endswith(".py"):
            path = Path(place)
            if not path.exists():
                raise RecipeError(f"{path.absolute()}: no such recipe file")
            spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        recipe = getattr(module, function)()
    except ValidationError as error:
        raise RecipeError(f"recipe {reference}: {describe(error)}") from error
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"recipe {reference}: {error}") from error
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"recipe {reference}: returned {type(recipe).__name__}, not Recipe")
    return recipe
