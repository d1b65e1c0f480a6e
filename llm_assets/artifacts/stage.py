"""A stage: how one asset's artifact is identified and built. The graph of stages is the asset graph without Dagster."""

from __future__ import annotations

import hashlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ArtifactError, NotBuilt
from .identity import Identity, artifact_key
from .store import Artifact, Store

if TYPE_CHECKING:
    from .step import Step

Key = tuple[str, str | None]


def _no_literals(recipe: Any, partition: str | None) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Stage:
    """One asset.

    inputs: names of the stages whose artifacts it reads: of the same crawl where both are per crawl, of every crawl
    that the recipe names where only the input is (or those that `crawls` gives).
    literals: the part of the recipe it reads, and nothing else of it.
    code_version: raised by hand whenever a change of code can change bytes.
    rooms: packages whose source is digested into the record, to tell drift.
    outside: data versions of inputs that are no artifacts (a folder of WARC files), by name.
    earlier: further artifact keys it reads (an earlier crawl of the same site).
    tables, optional_tables: schemas of the tables that it always, or sometimes, holds.
    locations: where files that the artifact references outside the store lie now.
    """

    name: str
    build: Callable[[Step, Any], None]
    code_version: str
    rooms: tuple[str, ...]
    per_crawl: bool = False
    inputs: tuple[str, ...] = ()
    literals: Callable[[Any, str | None], Mapping[str, Any]] = _no_literals
    outside: Callable[[Any, str | None], Mapping[str, str]] | None = None
    earlier: Callable[[Any, str | None], list[Key]] | None = None
    crawls: Callable[[Any], list[str]] | None = None
    locations: Callable[[Any, str | None], Mapping[str, str]] | None = None
    tables: Mapping[str, type] = field(default_factory=dict)
    optional_tables: Mapping[str, type] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()


class Graph:
    """All stages, in an order in which each comes after its inputs."""

    def __init__(self, stages: list[Stage]):
        self.stages = {stage.name: stage for stage in stages}
        seen: set[str] = set()
        for stage in stages:
            missing = [name for name in stage.inputs if name not in seen]
            if missing:
                raise ArtifactError(f"stage {stage.name} comes before its inputs {missing}")
            seen.add(stage.name)

    def __getitem__(self, name: str) -> Stage:
        try:
            return self.stages[name]
        except KeyError:
            raise ArtifactError(f"no asset {name!r}; there are {', '.join(self.stages)}") from None

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages.values())

    def spans_crawls(self, stage: Stage) -> bool:
        """Whether the stage has no partition and reads, directly or not, stages of every crawl."""
        return not stage.per_crawl and any(self[name].per_crawl or self.spans_crawls(self[name]) for name in stage.inputs)

    def layer(self, stage: Stage) -> int:
        """How many stages that span all crawls lie between the raw crawls and a stage of one crawl (or what spans such stages).

        Stages of one layer can be built crawl by crawl; the next layer needs what spans all of them.
        """
        return max((self.layer(self[name]) + (stage.per_crawl and self.spans_crawls(self[name])) for name in stage.inputs), default=0)

    def dependencies(self, stage: Stage, recipe: Any, partition: str | None) -> list[Key]:
        """Keys of the artifacts that `stage` reads for this partition."""
        keys: list[Key] = []
        for name in stage.inputs:
            upstream = self[name]
            if not upstream.per_crawl:
                keys.append((name, None))
            elif stage.per_crawl:
                keys.append((name, partition))
            else:
                keys.extend((name, crawl) for crawl in (stage.crawls(recipe) if stage.crawls else recipe.corpus()))
        if stage.earlier is not None:
            keys.extend(stage.earlier(recipe, partition))
        return keys

    def keys(self, recipe: Any) -> list[Key]:
        """Every (asset, partition) that the recipe spans, upstream first."""
        return [(stage.name, crawl) for stage in self for crawl in (sorted(recipe.crawls) if stage.per_crawl else [None])]


@dataclass
class Resolution:
    """What the recipe asks for, and what the store has of it. `identity` is None while an input is not built."""

    stage: Stage
    partition: str | None
    identity: Identity | None
    artifact: Artifact | None
    inputs: dict[str, Artifact]
    missing: list[str]
    partial: Identity

    @property
    def key(self) -> str:
        return artifact_key(self.stage.name, self.partition)


class Resolver:
    """Works out identities from the recipe alone, input by input, without building anything."""

    def __init__(self, graph: Graph, recipe: Any, store: Store):
        self.graph, self.recipe, self.store = graph, recipe, store
        self._known: dict[Key, Resolution] = {}

    def resolve(self, name: str, partition: str | None) -> Resolution:
        key = (name, partition)
        if key not in self._known:
            self._known[key] = self._resolve(self.graph[name], partition)
        return self._known[key]

    def _resolve(self, stage: Stage, partition: str | None) -> Resolution:
        inputs: dict[str, Artifact] = {}
        missing: list[str] = []
        for name, upstream_partition in self.graph.dependencies(stage, self.recipe, partition):
            upstream = self.resolve(name, upstream_partition)
            if upstream.artifact is None:
                missing.append(upstream.key)
            else:
                inputs[upstream.key] = upstream.artifact
        versions = {key: artifact.data_version for key, artifact in inputs.items()}
        if stage.outside is not None:
            versions.update(stage.outside(self.recipe, partition))
        identity = Identity(stage.name, partition, stage.code_version, dict(stage.literals(self.recipe, partition)), versions)
        if missing:
            return Resolution(stage, partition, None, None, inputs, missing, identity)
        return Resolution(stage, partition, identity, self.store.lookup(identity), inputs, missing, identity)

    def artifact(self, name: str, partition: str | None) -> Artifact:
        """The artifact that the recipe asks for. Raises NotBuilt where it is not there."""
        resolution = self.resolve(name, partition)
        if resolution.artifact is None:
            raise NotBuilt(f"{resolution.key} is not built under recipe {self.recipe.name!r}; run: llm-assets run --select '*{name}'" + (f" --crawl {partition}" if partition else ""))
        return resolution.artifact


@lru_cache
def source_digests(rooms: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 (16 hex digits) of every module's source in the given packages or modules."""
    digests: dict[str, str] = {}
    for room in rooms:
        spec = importlib.util.find_spec(room)
        if spec is None or spec.origin is None:
            raise ArtifactError(f"room {room} cannot be found")
        names = {room: Path(spec.origin)}
        for folder in spec.submodule_search_locations or []:
            for module in pkgutil.walk_packages([folder], f"{room}."):
                if module.name.rsplit(".", 1)[-1] == "assets":
                    continue  # Dagster declarations make no bytes
                path = Path(folder).joinpath(*module.name.removeprefix(f"{room}.").split("."))
                names[module.name] = path / "__init__.py" if module.ispkg else path.with_suffix(".py")
        for name, path in names.items():
            digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return dict(sorted(digests.items()))


def drifted_modules(stage: Stage, artifact: Artifact) -> list[str]:
    """Modules of the stage's rooms whose source is not what it was when the artifact was built.

    The artifact stays valid while `code_version` is the same: drift is told, not acted on.
    """
    now = source_digests(stage.rooms)
    then = artifact.record.source
    return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
