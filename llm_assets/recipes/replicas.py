"""Replicas of a recipe: the same settings with other seeds, on another sample web.

``laptop#seed=2,world=4`` names the replica of `laptop` with seed 2 on world 4; see `load.py`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .recipe import Recipe
from .sources import SampleWeb

_WORDING = re.compile(r"seed=(\d+)(?:,world=(\d+))?")


class Replica(NamedTuple):
    """seed: takes the place of every seed of the recipe. world: that of its sample webs; None keeps theirs."""

    seed: int
    world: int | None = None

    def __str__(self) -> str:
        return f"seed={self.seed}" + ("" if self.world is None else f",world={self.world}")


def read_replica(text: str) -> Replica:
    """The replica that a text such as ``seed=2,world=4`` describes. Raises ValueError."""
    match = _WORDING.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r}: not a replica; write seed=2 or seed=2,world=4")
    return Replica(int(match[1]), None if match[2] is None else int(match[2]))


def replica_of(recipe: Recipe, replica: Replica) -> Recipe:
    """The recipe with other seeds and, if the replica names a world, with its sample webs about that world.

    It is always compared with the ablation, the control without which its made-up answers say little.
    Crawls of another world have names of their own, so that runs of several worlds can share a store. Recrawls of the
    sample web are left out. Raises ValueError if a world is named but the recipe crawls no sample web.
    """
    name = f"{recipe.name}-{str(replica).replace('=', '-').replace(',', '-')}"
    changes: dict[str, Any] = {"name": name, "compare_with_ablation": True}
    for name in type(recipe).model_fields:
        group = getattr(recipe, name)
        if "seed" in getattr(type(group), "model_fields", {}):
            changes[name] = group.replace(seed=replica.seed)
    if replica.world is not None:
        changes |= _on_world(recipe, replica.world)
    return recipe.replace(**changes)


def _on_world(recipe: Recipe, world: int) -> dict[str, Any]:
    samples = {name: source for name, source in recipe.crawls.items() if isinstance(source, SampleWeb)}
    if not samples:
        raise ValueError(f"recipe {recipe.name} crawls no sample web, so it has no other world")
    crawls = {
        f"{name}-world-{world}" if name in samples else name: source.replace(world=world) if name in samples else source
        for name, source in recipe.crawls.items()
    }
    return {"crawls": crawls, "recrawls": tuple(crawl for crawl in recipe.recrawls if crawl.prefix not in samples)}
