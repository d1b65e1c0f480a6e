"""Find a recipe by name, ``module:function`` or ``file.py:function``; with ``@crawl,crawl`` it reads these alone."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import traceback
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .presets import RECIPES
from .recipe import Recipe
from .sources import Source


class RecipeError(Exception):
    """A recipe that cannot be found or holds an impossible value; the message names the field."""


def describe(error: ValidationError) -> str:
    """pydantic's errors as one line: path of the field from the recipe down, problem, value.

    A part that was made by itself (``Pretraining(...)``, ``recipe.pretraining.replace(...)``) knows nothing of the recipe
    around it; where the recipe holds one part of its type, that part's path is put in front, otherwise its type.
    """
    part, prefix = _parts().get(error.title, (None, ()))
    return "; ".join(_describe_one(item, part, prefix) for item in error.errors())


def _describe_one(item: Any, part: type[BaseModel] | None, prefix: tuple[str, ...]) -> str:
    path = ".".join(str(name) for name in (*prefix, *item["loc"]))
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), _fields_at(part, item["loc"][:-1]), 1)
        return f"{path}: extra input is not permitted" + (f"; did you mean {near[0]}?" if near else "")
    message, value = item["msg"].removeprefix("Value error, "), item.get("input")
    if not isinstance(value, (BaseModel, dict)):
        return f"{path or 'recipe'}: {message} (got {str(value)[:80]!r})"
    # A rule over several fields may name its field itself, with or without the path.
    if path and message.startswith(f"{path}."):
        return message
    if message.partition(":")[0] in _fields_at(part, item["loc"]):
        return f"{path}.{message}".removeprefix(".")
    return f"{path or 'recipe'}: {message}"


@cache
def _parts() -> dict[str, tuple[type[BaseModel], tuple[str, ...]]]:
    """The types of a recipe's parts by name, with the path of the one that it holds, or the name where it may hold more."""
    found: dict[str, list[tuple[type[BaseModel], tuple[str, ...] | None]]] = {}

    def add(model: type[BaseModel], path: tuple[str, ...] | None) -> None:
        found.setdefault(model.__name__, []).append((model, path))
        for name, info in model.model_fields.items():
            several = path is None or get_origin(info.annotation) in (dict, list, tuple)
            for inner in _models_in(info.annotation):
                add(inner, None if several else (*path, name))  # type: ignore[misc]

    add(Recipe, ())
    return {
        name: (places[0][0], places[0][1] if len(places) == 1 and places[0][1] is not None else (name,))
        for name, places in found.items()
    }


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field's type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _fields_at(model: type[BaseModel] | None, place: tuple[str | int, ...]) -> list[str]:
    """Fields that a model, or the part of it at this place, has."""
    models = [model] if model is not None else [*_models_in(Source)]
    for name in place:
        kinds = [one for one in models if "kind" in one.model_fields and one.model_fields["kind"].default == name]
        inner = [
            one
            for model in models
            if name in model.model_fields
            for one in _models_in(model.model_fields[name].annotation)
        ]  # type: ignore[index]
        models = kinds or inner or models  # a number or a key stays where it is
    return [name for model in models for name in model.model_fields]


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
    reference, crawls = split_crawls(chosen_recipe(reference))
    recipe = _load(reference)
    return recipe.reading_only(crawls) if crawls else recipe


def _load(reference: str) -> Recipe:
    try:
        if reference in RECIPES:
            return RECIPES[reference]()
        place, _, function = reference.rpartition(":")
        if not place:
            raise RecipeError(
                f"no recipe {reference!r}: use one of {', '.join(RECIPES)}, module:function or file.py:function"
            )
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
