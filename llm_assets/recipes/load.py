"""Loads a recipe by name, ``module:function`` or ``file.py:function``.

``@crawl,crawl`` after it limits it to these crawls; ``#seed=2,world=4`` names a replica of it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import traceback
from collections.abc import Callable
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .presets import RECIPES
from .recipe import Recipe
from .replicas import read_replica, replica_of
from .sources import Source

FieldPath = tuple[str | int, ...]


class RecipeError(Exception):
    """A recipe that cannot be found, or that has an impossible value; the message names the field."""


def describe(error: ValidationError) -> str:
    """pydantic's errors on one line: path of the field from the recipe down, problem, value.

    A group that is validated on its own (``Pretraining(...)``, ``recipe.pretraining.replace(...)``) does not know the
    recipe around it. If the recipe has one field of that type, its path is prepended, otherwise the type's name.
    """
    group, prefix = _groups().get(error.title, (None, ()))
    return "; ".join(_describe_item(item, group, prefix) for item in error.errors())


def _describe_item(item: Any, group: type[BaseModel] | None, prefix: tuple[str, ...]) -> str:
    path = ".".join(str(name) for name in (*prefix, *item["loc"]))
    if item["type"] == "extra_forbidden":
        similar = difflib.get_close_matches(str(item["loc"][-1]), _fields_at(group, item["loc"][:-1]), 1)
        return f"{path}: extra input is not permitted" + (f"; did you mean {similar[0]}?" if similar else "")
    message, value = item["msg"].removeprefix("Value error, "), item.get("input")
    if not isinstance(value, (BaseModel, dict)):
        return f"{path or 'recipe'}: {message} (got {str(value)[:80]!r})"
    # A rule over several fields may name its field itself, with or without the path.
    if path and message.startswith(f"{path}."):
        return message
    if message.partition(":")[0] in _fields_at(group, item["loc"]):
        return f"{path}.{message}".removeprefix(".")
    return f"{path or 'recipe'}: {message}"


@cache
def _groups() -> dict[str, tuple[type[BaseModel], tuple[str, ...]]]:
    """The types within a recipe by name, with the path of their field; with the name if there may be several."""
    places: dict[str, list[tuple[type[BaseModel], tuple[str, ...] | None]]] = {}

    def add(model: type[BaseModel], path: tuple[str, ...] | None) -> None:
        places.setdefault(model.__name__, []).append((model, path))
        for name, info in model.model_fields.items():
            repeated = path is None or get_origin(info.annotation) in (dict, list, tuple)
            for inner in _models_in(info.annotation):
                add(inner, None if repeated else (*path, name))  # type: ignore[misc]

    add(Recipe, ())
    groups = {}
    for name, models in places.items():
        model, path = models[0]
        unique = len(models) == 1 and path is not None
        groups[name] = (model, path if unique else (name,))
    return groups  # type: ignore[return-value]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field's type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _fields_at(model: type[BaseModel] | None, path: FieldPath) -> list[str]:
    """Names of the fields that a model has at this path within it."""
    models = [model] if model is not None else _models_in(Source)
    for name in path:
        # A step of the path is the kind of a source, the name of a field, or the number or key of an item.
        of_this_kind = [
            candidate
            for candidate in models
            if "kind" in candidate.model_fields and candidate.model_fields["kind"].default == name
        ]
        in_this_field = [
            inner
            for candidate in models
            if name in candidate.model_fields
            for inner in _models_in(candidate.model_fields[name].annotation)  # type: ignore[index]
        ]
        models = of_this_kind or in_this_field or models
    return [name for candidate in models for name in candidate.model_fields]


def chosen_recipe(reference: str | None = None) -> str:
    """The recipe's name: `reference`, or else LLM_ASSETS_RECIPE, or else `laptop`."""
    return reference or os.environ.get("LLM_ASSETS_RECIPE") or "laptop"


def split_crawls(reference: str) -> tuple[str, tuple[str, ...]]:
    """Splits ``laptop@mine,site`` into ``laptop`` and the crawls that it is limited to. A path may contain an @."""
    place, colon, function = reference.rpartition(":")
    function, _, crawls = function.partition("@")
    return f"{place}{colon}{function}", tuple(crawl for crawl in crawls.split(",") if crawl)


def with_crawls(reference: str, crawls: list[str]) -> str:
    """The reference of the same recipe limited to these crawls."""
    return f"{split_crawls(reference)[0]}@{','.join(crawls)}"


def _line_in_recipe(error: Exception, place: str) -> str:
    """The last line of the recipe's own file or module in an exception's traceback, in brackets."""
    recipe_file = Path(place).absolute() if place.endswith(".py") else None
    if isinstance(error, SyntaxError):
        return ""  # its message names the line
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        path = Path(frame.filename)
        in_module = recipe_file is None and path.stem == place.rpartition(".")[2]
        if path.absolute() == recipe_file or in_module:
            return f" ({frame.filename}, line {frame.lineno})"
    return ""


def load_recipe(reference: str | None = None) -> Recipe:
    """The recipe named by `reference`, by LLM_ASSETS_RECIPE, or `laptop`.

    Raises RecipeError if there is no such recipe, if its function fails, or if a value is impossible.
    """
    reference, crawls = split_crawls(chosen_recipe(reference))
    recipe = _load(reference)
    return recipe.reading_only(crawls) if crawls else recipe


def split_replica(reference: str) -> tuple[str, str]:
    """Splits ``laptop#seed=2`` into ``laptop`` and ``seed=2``. A path may contain a #."""
    place, colon, function = reference.rpartition(":")
    function, _, replica = function.partition("#")
    return f"{place}{colon}{function}", replica


def _load(reference: str) -> Recipe:
    function, replica = split_replica(reference)
    place = function.rpartition(":")[0]
    try:
        recipe = _recipe_function(function)()
    except ValidationError as error:
        raise RecipeError(f"recipe {reference}: {describe(error)}") from error
    except RecipeError:
        raise
    except Exception as error:  # the recipe is the user's own code and may raise anything
        kind = "" if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: "
        raise RecipeError(f"recipe {reference}: {kind}{error}{_line_in_recipe(error, place)}") from error
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"recipe {reference}: returned {type(recipe).__name__}, not Recipe")
    if not replica:
        return recipe
    try:
        return replica_of(recipe, read_replica(replica))
    except ValueError as error:
        raise RecipeError(f"recipe {reference}: {error}") from error


def _recipe_function(reference: str) -> Callable[[], Any]:
    if reference in RECIPES:
        return RECIPES[reference]
    place, _, function = reference.rpartition(":")
    if reference == "chat":
        raise RecipeError(
            "recipe 'chat' needs a model and files: write a recipe file with a function that returns "
            "llm_assets.recipes.chat('MODEL FOLDER', ['CONVERSATIONS'], ['PREFERENCES']), and name it as "
            "file.py:function (see docs/how-to/published-model.md)"
        )
    if not place:
        raise RecipeError(
            f"no recipe {reference!r}: use one of {', '.join(RECIPES)}, module:function or file.py:function"
        )
    module = _module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    return getattr(module, function)  # type: ignore[no-any-return]


class _SourceAlone(SourceFileLoader):
    """Compiles a recipe each time: by its time in seconds and its size, Python takes an edited file for the old one."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _module_of_file(path: Path) -> ModuleType:
    if not path.exists():
        raise RecipeError(f"{path.absolute()}: no such recipe file")
    name = f"recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceAlone(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
