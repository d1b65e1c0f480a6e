"""The registry of crawls, their names and sources, beside the artifacts. It complements the crawls of the recipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.store import clear_disk_errors
from llm_assets.recipes import Recipe, RecipeError, parse_source
from llm_assets.recipes.load import describe
from llm_assets.recipes.recrawls import CRAWL_NAME
from llm_assets.settings import Settings

from .errors import SourceError


@dataclass(frozen=True)
class CrawlRegistry:
    """The registered crawls: one JSON file for each, in `folder`."""

    folder: Path

    def sources(self) -> dict[str, Any]:
        """The sources of all registered crawls, by name. Raises SourceError for a file that cannot be read."""
        return {path.stem: _read_source(path) for path in sorted(self.folder.glob("*.json"))}

    def add(self, name: str, source: Any) -> bool:
        """Register a crawl; False if it is already registered with this source.

        Raises SourceError for an invalid name, and for a name that is registered with another source.
        """
        if not CRAWL_NAME.fullmatch(name):
            raise SourceError(
                f"crawl name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit"
            )
        if self.holds(name):
            registered = _read_source(self.folder / f"{name}.json")
            if registered == source:
                return False
            raise SourceError(
                f"crawl {name!r} is registered with another source ({registered!r}); a crawl keeps its source, so "
                "choose another name"
            )
        with clear_disk_errors(self.folder):
            write_atomic(self.folder / f"{name}.json", json.dumps(source.model_dump(mode="json"), indent=2).encode())
        return True

    def holds(self, name: str) -> bool:
        """Whether a crawl of this name is registered, even if its file cannot be read."""
        return CRAWL_NAME.fullmatch(name) is not None and (self.folder / f"{name}.json").exists()

    def remove(self, name: str) -> None:
        """Unregister a crawl. Its artifacts stay in the store."""
        with clear_disk_errors(self.folder):
            (self.folder / f"{name}.json").unlink()

    def unusable(self, recipe: Recipe) -> dict[str, str]:
        """Registered crawls that cannot be built under a recipe, because a crawl that they continue is missing.

        That crawl belongs to another recipe, or its file was deleted. Returns reasons by name of the crawl.
        """
        return _unusable(self.sources(), recipe)

    def effective(self, recipe: Recipe) -> Recipe:
        """The recipe together with the usable registered crawls. Raises RecipeError if it names an unusable one."""
        registered = self.sources()
        unusable = _unusable(registered, recipe)
        for name in recipe.only_crawls:
            if name in unusable:
                raise RecipeError(f"crawl {name!r} cannot be built: {unusable[name]}")
        try:
            usable = {name: source for name, source in registered.items() if name not in unusable}
            return recipe.with_registered(usable)
        except ValidationError as error:
            raise RecipeError(f"registered crawls in {self.folder}: {describe(error)}") from error


def _read_source(path: Path) -> Any:
    """The source in a crawl's file. Raises SourceError if it cannot be read."""
    advice = f"correct it, or: llm-assets crawls remove {path.stem}"
    try:
        return parse_source(json.loads(path.read_text()))
    except ValidationError as error:
        raise SourceError(f"{path}: {describe(error)}; {advice}") from error
    except ValueError as error:
        raise SourceError(f"{path}: not JSON ({error}); {advice}") from error


def _unusable(registered: dict[str, Any], recipe: Recipe) -> dict[str, str]:
    """Those of the registered crawls that a recipe cannot build, by name, with the reasons."""
    sources = {**registered, **recipe.sources()}
    problems = {name: _chain_problem(name, sources, recipe.name) for name in registered}
    return {name: problem for name, problem in problems.items() if problem is not None}


def _chain_problem(name: str, sources: dict[str, Any], recipe_name: str) -> str | None:
    """Why the chain of crawls that `name` continues is broken; None if it is not."""
    chain = [name]
    while (since := getattr(sources[chain[-1]], "since", None)) is not None:
        if since not in sources:
            return f"{chain[-1]} continues {since}, which is not a crawl of recipe {recipe_name!r}"
        if since in chain:
            return f"crawls continue each other in a circle: {' → '.join([*chain, since])}"
        chain.append(since)
    return None


def open_registry(settings: Settings) -> CrawlRegistry:
    """The registry of this installation."""
    return CrawlRegistry(settings.data / "crawls")
