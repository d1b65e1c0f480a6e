"""Find a recipe by name, ``module:function`` or ``file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import traceback
from pathlib import Path

from pydantic import ValidationError

from .dial import RECIPES
from .recipe import Recipe


class RecipeError(Exception):
    """A recipe that cannot be found or holds an impossible value; the message names the field."""


def describe(error: ValidationError) -> str:
    """pydantic's errors as one line: field, problem, value."""
    return "; ".join(f"{'.'.join(str(part) for part in item['loc']) or 'recipe'}: {item['msg']} (got {str(item.get('input'))[:80]!r})" for item in error.errors())


def _where(error: Exception, place: str) -> str:
    """The last line of the recipe's own file or module that an exception came through."""
    own = Path(place).absolute() if place.endswith(".py") else None
    if isinstance(error, SyntaxError):
        return ""  # its message says so
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        path = Path(frame.filename)
        if path.absolute() == own or (own is None and path.stem == place.rpartition(".")[2]):
            return f" ({frame.filename}, line {frame.lineno})"
    return ""


def load_recipe(reference: str | None = None) -> Recipe:
    """The recipe named by `reference`, or by LLM_ASSETS_RECIPE, or `laptop`.

    Raises RecipeError with what was looked for and where.
    """
    reference = reference or os.environ.get("LLM_ASSETS_RECIPE") or "laptop"
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
    except RecipeError:
        raise
    except Exception as error:  # whatever the user's own code raises
        kind = "" if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: "
        raise RecipeError(f"recipe {reference}: {kind}{error}{_where(error, place)}") from error
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"recipe {reference}: returned {type(recipe).__name__}, not Recipe")
    return recipe
