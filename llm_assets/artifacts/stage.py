"""A stage: one asset, declared once. The graph of stages is the asset graph without Dagster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from .checks import Check
from .errors import ArtifactError, ExternalInputError, NotBuilt
from .identity import Identity, artifact_key
from .inputs import Inputs
from .source import drift
from .store import NO_PARTITION, Artifact, Store
from .views import View

if TYPE_CHECKING:
    from .step import Step

Key = tuple[str, str | None]
PREDECESSOR = "@before"  # of an input: the artifact of the same stage that is gone on from


class NoConfig(BaseModel):
    """The config of a stage that reads nothing of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _no_config(recipe: Any, crawl: str | None) -> NoConfig:
    return NoConfig()


@dataclass(frozen=True)
class Retry:
    """Try a step again after these errors: what touches a network may fail for a moment."""

    on: tuple[type[Exception], ...]
    times: int = 2
    seconds: float = 10.0


@dataclass(frozen=True)
class Stage:
    """One asset: how its artifact is identified and built, what is checked of it, what is drawn from it.

    build: ``build(step, config)`` writes the data into the step's staging folder.
    config: the typed, frozen slice of the recipe that `build` sees, by recipe and crawl. It is the identity's, less
    the fields marked EXECUTION_ONLY.
    config_per_crawl: whether that slice is another for each crawl (where it comes from); otherwise no crawl changes it.
    code_version: raised by hand whenever a change of code can change bytes.
    per_crawl: whether there is one artifact a crawl (a partition).
    inputs: names of the stages whose artifacts it reads: of the same crawl where both are per crawl; of every crawl of
    the recipe that is built (or of those that `crawls` gives) where only the input is.
    external_inputs: versions of inputs that are no artifacts (a folder of WARC files), by name, from the config.
    earlier_artifacts: keys of further artifacts that it reads (an earlier crawl of the same site).
    continues: the recipe whose artifact of this stage is gone on from, by the recipe and the crawls that are read; the
    build finds it among its inputs as ``<name>@before``, where it is in the store.
    locations: where files that the artifact references outside the store lie now, from the config.
    tables, optional_tables: pandera schemas of the tables that it always, or sometimes, holds.
    main_table: the table whose rows are the asset's rows; None where it has none (a checkpoint, a page).
    show: Markdown texts and numbers for the asset's page, from the artifact.
    pool: Dagster's pool that a build takes a slot of.
    """

    name: str
    group: str
    description: str
    build: Callable[[Step, Any], None]
    code_version: str
    config: Callable[[Any, str | None], Any] = _no_config
    config_per_crawl: bool = False
    kinds: tuple[str, ...] = ()
    per_crawl: bool = False
    inputs: tuple[str, ...] = ()
    external_inputs: Callable[[Any], Mapping[str, str]] | None = None
    earlier_artifacts: Callable[[Any, str | None], list[Key]] | None = None
    continues: Callable[[Any, list[str]], Any] | None = None
    crawls: Callable[[Any], list[str]] | None = None
    locations: Callable[[Any], Mapping[str, str]] | None = None
    tables: Mapping[str, type] = field(default_factory=dict)
    optional_tables: Mapping[str, type] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    views: tuple[View, ...] = ()
    show: Callable[[Artifact], Mapping[str, Any]] | None = None
    libraries: tuple[str, ...] = ()
    pool: str | None = None
    retry: Retry | None = None
    main_table: str | None = None


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

    def spans_crawls(self, name: str) -> bool:
        """Whether the asset depends, directly or not, on an artifact that is made from every crawl."""
        stage = self[name]
        return any(
            (self[upstream].per_crawl and not stage.per_crawl) or self.spans_crawls(upstream)
            for upstream in stage.inputs
        )

    def crawl_stages(self, name: str) -> frozenset[str]:
        """Of a per-crawl asset and the per-crawl assets that it is built from, the last that need no other crawl.

        A crawl is built where these are: ``clean_corpus`` for ``token_shards``, whose tokenizer reads several crawls.
        """
        if not self.spans_crawls(name):
            return frozenset({name})
        parts = [self.crawl_stages(upstream) for upstream in self[name].inputs if self[upstream].per_crawl]
        return frozenset().union(*parts)

    def crawl_order(self, recipe: Any, crawls: list[str]) -> list[str]:
        """The crawls in an order in which each comes after those that it continues."""
        ordered: dict[str, None] = {}

        def add(crawl: str) -> None:
            for stage in self:
                for name, earlier in stage.earlier_artifacts(recipe, crawl) if stage.earlier_artifacts else []:
                    if name == stage.name and earlier in crawls and earlier not in ordered and earlier is not None:
                        add(earlier)
            ordered[crawl] = None

        for crawl in crawls:
            add(crawl)
        return list(ordered)

    def keys(self, recipe: Any) -> list[Key]:
        """Every (asset, crawl) that the recipe spans, upstream first."""
        return [(stage.name, crawl) for stage in self for crawl in (recipe.corpus() if stage.per_crawl else [None])]


@dataclass
class Resolution:
    """What the recipe asks for, and what the store has of it.

    identity: None while an input is not built; `missing` names those, and `partial` is what is known of the identity.
    unbuilt_crawls: crawls of the recipe that the stage would read, were they built.
    unreachable: why its external inputs cannot be read now; the artifact is then the newest that was made of this
    config, and there is none to build anew.
    """

    stage: Stage
    partition: str | None
    config: Any
    identity: Identity | None
    artifact: Artifact | None
    inputs: Inputs
    missing: list[str]
    partial: Identity
    unbuilt_crawls: list[str]
    unreachable: ExternalInputError | None = None

    @property
    def key(self) -> str:
        return artifact_key(self.stage.name, self.partition)

    @property
    def crawls(self) -> list[str]:
        """The crawls whose artifacts it is made from."""
        return sorted({key.partition("/")[2] for key in self.inputs if "/" in key})


class Resolver:
    """Works out identities from the recipe and the store, input by input, without building anything."""

    def __init__(
        self,
        graph: Graph,
        recipe: Any,
        store: Store,
        states: dict[tuple[str, ...], Resolver] | None = None,
        crawls: frozenset[str] | None = None,
    ):
        """crawls: those that may count as built for a stage that reads several; None is all."""
        self.graph, self.recipe, self.store, self.crawls = graph, recipe, store, crawls
        self._known: dict[Key, Resolution] = {}
        # Resolvers of earlier states of the recipe, by their crawls: each state is worked out once.
        self._states: dict[tuple[str, ...], Resolver] = {} if states is None else states

    def resolve(self, name: str, partition: str | None) -> Resolution:
        key = (name, partition)
        if key not in self._known:
            self._known[key] = self._resolve(self.graph[name], partition)
        return self._known[key]

    def built_crawls(self, stage: Stage) -> tuple[list[str], list[str]]:
        """Crawls of the recipe that a stage without a partition reads: those that are built, and those that are not.

        A crawl is built where what needs no other crawl is: an artifact of a built crawl that is then missing (token
        shards of an earlier tokenizer) is an error, not a crawl to leave out.
        """
        last = {one for name in stage.inputs if self.graph[name].per_crawl for one in self.graph.crawl_stages(name)}
        built, unbuilt = [], []
        for crawl in stage.crawls(self.recipe) if stage.crawls else self.recipe.corpus():
            counts = self.crawls is None or crawl in self.crawls
            is_built = counts and all(self.resolve(name, crawl).artifact is not None for name in last)
            (built if is_built else unbuilt).append(crawl)
        return built, unbuilt

    def dependencies(self, stage: Stage, partition: str | None) -> tuple[list[Key], list[str]]:
        """Keys of the artifacts that `stage` reads for this partition, and the crawls it leaves out as not built."""
        keys: list[Key] = []
        crawls, unbuilt = ([], []) if stage.per_crawl else self.built_crawls(stage)
        for name in stage.inputs:
            if not self.graph[name].per_crawl:
                keys.append((name, None))
            elif stage.per_crawl:
                keys.append((name, partition))
            else:
                # With no crawl built, the first that is not says what is missing.
                keys.extend((name, crawl) for crawl in crawls or unbuilt[:1])
        if stage.earlier_artifacts is not None:
            keys.extend(stage.earlier_artifacts(self.recipe, partition))
        return keys, unbuilt

    def _resolve(self, stage: Stage, partition: str | None) -> Resolution:
        found: dict[str, Artifact] = {}
        missing: list[str] = []
        keys, unbuilt = self.dependencies(stage, partition)
        for name, upstream_partition in keys:
            upstream = self.resolve(name, upstream_partition)
            if upstream.artifact is None:
                missing.append(upstream.key)
            else:
                found[upstream.key] = upstream.artifact
        if stage.continues is not None and not missing:
            before = self._before(stage, [key[1] for key in keys if key[1] is not None])
            if before is not None:
                found[f"{stage.name}{PREDECESSOR}"] = before
        config = stage.config(self._recipe_of(stage, unbuilt), partition)
        versions = {key: artifact.data_version for key, artifact in found.items()}
        unreachable = None
        if stage.external_inputs is not None:
            try:
                versions.update(stage.external_inputs(config))
            except ExternalInputError as error:
                unreachable = error
        identity = Identity(stage.name, partition, stage.code_version, config, versions)
        if unreachable is not None:
            identity = self._last_seen(identity) or identity
        artifact = None if missing else self.store.lookup(identity)
        return Resolution(
            stage,
            partition,
            config,
            None if missing else identity,
            artifact,
            Inputs(found, partition),
            missing,
            identity,
            unbuilt,
            unreachable,
        )

    def _last_seen(self, identity: Identity) -> Identity | None:
        """Of the newest artifact that differs from this identity in its external inputs alone.

        A folder that is out of reach for a day must not take its crawl out of the corpus, and so out of the model.
        """
        wanted = identity.fields()
        for artifact in reversed(list(self.store.artifacts(identity.asset, identity.partition or NO_PARTITION))):
            fields = artifact.record.fields
            known = {name: version for name, version in fields["inputs"].items() if name in wanted["inputs"]}
            if {**fields, "inputs": known} == wanted:
                return replace(identity, inputs=fields["inputs"])
        return None

    def _recipe_of(self, stage: Stage, unbuilt: list[str]) -> Any:
        """The recipe that a stage's config is a slice of: of built crawls only, where crawls change it (`continues`)."""
        recipe = self.recipe
        if stage.continues is not None:
            for crawl in unbuilt:
                recipe = recipe.without_crawl(crawl)
        return recipe

    def _before(self, stage: Stage, crawls: list[str]) -> Artifact | None:
        """The latest artifact of the stage, under an earlier state of the recipe, that is there to go on from."""
        assert stage.continues is not None
        recipe = stage.continues(self.recipe, sorted(set(crawls)))
        while recipe is not None:
            crawls_then = tuple(recipe.corpus())
            if crawls_then not in self._states:
                self._states[crawls_then] = Resolver(self.graph, recipe, self.store, self._states, self.crawls)
            resolver = self._states[crawls_then]
            resolution = resolver.resolve(stage.name, None)
            if resolution.artifact is not None:
                return resolution.artifact
            recipe = stage.continues(recipe, resolver.built_crawls(stage)[0])
        return None

    def artifact(self, name: str, partition: str | None) -> Artifact:
        """The artifact that the recipe asks for. Raises NotBuilt where it is not there."""
        resolution = self.resolve(name, partition)
        if resolution.artifact is None:
            if resolution.unreachable is not None:
                raise resolution.unreachable
            crawl = f" --crawl {partition}" if partition else ""
            raise NotBuilt(
                f"{resolution.key} is not built under recipe {self.recipe.name!r}; "
                f"run: llm-assets run --select '*{name}'{crawl}"
            )
        return resolution.artifact


def drifted_modules(stage: Stage, artifact: Artifact) -> list[str]:
    """Modules of the stage's code whose source is not what it was when the artifact was built.

    The artifact stays valid while `code_version` is the same: drift is told, not acted on.
    """
    return drift(stage.build, artifact.record.source)


__all__ = ["Graph", "Key", "NoConfig", "Resolution", "Resolver", "Retry", "Stage", "drifted_modules"]
