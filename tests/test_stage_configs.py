"""Config is identity: every field of every stage's slice of the recipe bears it, but those marked EXECUTION_ONLY."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from llm_assets.artifacts.identity import ExecutionOnly, fingerprint
from llm_assets.graph import GRAPH
from llm_assets.recipes import CommonCrawl, SampleWeb, WarcFiles, WebCrawl, laptop

CRAWLS = {
    "sample": SampleWeb(),
    "web": WebCrawl(seeds=("http://a.example/",)),
    "cc": CommonCrawl(snapshot="CC-MAIN-2026-43"),
    "files": WarcFiles(path="/nowhere"),
}
RECIPE = laptop().but(crawls=CRAWLS)


def changed(value: Any) -> Any:
    """Another value that has stable bytes."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, dict):
        return {**value, "another": 1}
    if isinstance(value, (tuple, list)):
        return (*value, "another")
    return "another"


def variants(config: BaseModel, path: str = "", free: bool = False) -> Iterator[tuple[str, bool, BaseModel]]:
    """(path, whether it bears no identity, copy with that field changed) of every field, nested ones too."""
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        place, execution_only = (
            f"{path}.{name}".lstrip("."),
            free or any(isinstance(mark, ExecutionOnly) for mark in info.metadata),
        )
        yield place, execution_only, config.model_copy(update={name: changed(value)})
        if isinstance(value, BaseModel):
            for deeper, exempt, copy in variants(value, place, execution_only):
                yield deeper, exempt, config.model_copy(update={name: copy})


def cases() -> list[tuple[str, str]]:
    return [(stage.name, crawl) for stage in GRAPH for crawl in (CRAWLS if stage.name == "raw_warc" else ["sample"])]


def config_of(name: str, crawl: str, recipe: Any = RECIPE) -> BaseModel:
    stage = GRAPH[name]
    return stage.config(recipe, crawl if stage.per_crawl else None)


@pytest.mark.parametrize(("name", "crawl"), cases())
def test_every_field_bears_identity_unless_it_is_execution_only(name, crawl):
    config = config_of(name, crawl)
    assert type(config).model_config.get("frozen") and type(config).model_config.get("extra") == "forbid"
    for place, execution_only, copy in variants(config):
        assert (fingerprint(copy) == fingerprint(config)) == execution_only, f"{name}: {place}"


@pytest.mark.parametrize("name", [stage.name for stage in GRAPH])
def test_a_recipes_name_is_in_no_slice(name):
    assert config_of(name, "sample") == config_of(name, "sample", RECIPE.but(name="another"))


def test_some_fields_are_execution_only_and_most_are_not():
    """The property above is no tautology: it has both kinds to tell apart."""
    kinds = [execution_only for name, crawl in cases() for _, execution_only, _ in variants(config_of(name, crawl))]
    assert 20 < sum(kinds) < len(kinds) / 2
