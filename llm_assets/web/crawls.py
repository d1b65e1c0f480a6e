"""The registry of crawls: names and sources, beside the artifacts. The recipe's own crawls come on top."""

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
    """One JSON file a crawl, below ``<folder>``."""

    folder: Path

    def sources(self) -> dict[str, Any]:
        """Every registered crawl. Raises SourceError naming the file that cannot be read."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            advice = f"mend it, or: llm-assets crawls remove {path.stem}"
            try:
                found[path.stem] = parse_source(json.loads(path.read_text()))
            except ValidationError as error:
                raise SourceError(f"{path}: {describe(error)}; {advice}") from error
            except ValueError as error:
                raise SourceError(f"{path}: not JSON ({error}); {advice}") from error
        return found

    def add(self, name: str, source: Any) -> bool:
        """Register a crawl; False where exactly this is registered already. Raises SourceError for another source."""
        if not CRAWL_NAME.fullmatch(name):
            raise SourceError(
                f"crawl name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit"
            )
        known = self.sources().get(name)
        if known is not None:
            if known == source:
                return False
            raise SourceError(
                f"crawl {name!r} is registered with another source ({known!r}); a crawl keeps its source, choose another name"
            )
        with clear_disk_errors(self.folder):
            write_atomic(self.folder / f"{name}.json", json.dumps(source.model_dump(mode="json"), indent=2).encode())
        return True

    def holds(self, name: str) -> bool:
        """Whether a crawl of this name is registered, readable or not."""
        return CRAWL_NAME.fullmatch(name) is not None and (self.folder / f"{name}.json").exists()

    def remove(self, name: str) -> None:
        """Forget a registered crawl. Its artifacts stay in the store."""
        with clear_disk_errors(self.folder):
            (self.folder / f"{name}.json").unlink()

    def unusable(self, recipe: Recipe) -> dict[str, str]:
        """Registered crawls that cannot be built under a recipe, with the reason: one that they continue is not there.

        It is a crawl of another recipe, or somebody deleted its file. They are left out; the others go on.
        """
        registered = self.sources()
        sources = {**registered, **recipe.sources()}
        found = {}
        for name in registered:
            chain = [name]
            while (since := getattr(sources[chain[-1]], "since", None)) is not None:
                if since not in sources:
                    found[name] = f"{chain[-1]} continues {since}, which is no crawl of recipe {recipe.name!r}"
                    break
                if since in chain:
                    found[name] = f"crawls continue each other in a circle: {' → '.join([*chain, since])}"
                    break
                chain.append(since)
        return found

    def effective(self, recipe: Recipe) -> Recipe:
        """The recipe with the registered crawls that are usable. Raises RecipeError where it names one that is not."""
        unusable = self.unusable(recipe)
        for name in recipe.only_crawls:
            if name in unusable:
                raise RecipeError(f"crawl {name!r} cannot be built: {unusable[name]}")
        try:
            registered = {name: source for name, source in self.sources().items() if name not in unusable}
            return recipe.with_registered(registered)
        except ValidationError as error:
            raise RecipeError(f"registered crawls in {self.folder}: {describe(error)}") from error


def open_registry(settings: Settings) -> CrawlRegistry:
    """The registry of this installation."""
    return CrawlRegistry(settings.data / "crawls")
