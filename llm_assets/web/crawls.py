"""The registry of crawls: names and sources, beside the artifacts. The recipe's own crawls come on top."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.store import guard_writes
from llm_assets.recipes import Recipe, RecipeError, parse_source
from llm_assets.recipes.load import describe
from llm_assets.recipes.recipe import CRAWL_NAME
from llm_assets.settings import Settings

from .errors import SourceError


@dataclass(frozen=True)
class CrawlRegistry:
    """One JSON file a crawl, below ``<folder>``."""

    folder: Path

    def sources(self) -> dict[str, Any]:
        """Every registered crawl. Raises SourceError naming the file that cannot be read."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                found[path.stem] = parse_source(json.loads(path.read_text()))
            except ValidationError as error:
                raise SourceError(f"{path}: {describe(error)}") from error
            except ValueError as error:
                raise SourceError(f"{path}: not JSON ({error})") from error
        return found

    def add(self, name: str, source: Any) -> bool:
        """Register a crawl; False where exactly this is registered already. Raises SourceError for another source."""
        if not CRAWL_NAME.fullmatch(name):
            raise SourceError(f"crawl name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit")
        known = self.sources().get(name)
        if known is not None:
            if known == source:
                return False
            raise SourceError(f"crawl {name!r} is registered with another source ({known!r}); a crawl keeps its source, choose another name")
        with guard_writes(self.folder):
            write_atomic(self.folder / f"{name}.json", json.dumps(source.model_dump(mode="json"), indent=2).encode())
        return True

    def effective(self, recipe: Recipe) -> Recipe:
        """The recipe with the registered crawls. Raises RecipeError where they do not fit together."""
        try:
            return recipe.with_registered(self.sources())
        except ValidationError as error:
            raise RecipeError(f"registered crawls in {self.folder}: {describe(error)}") from error


def open_registry(settings: Settings) -> CrawlRegistry:
    """The registry of this installation."""
    return CrawlRegistry(settings.data / "crawls")
