"""Resolves a recipe against a store: the identity of every artifact, and whether the store has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .artifact import Artifact
from .errors import ExternalInputError, LeftOut, NotBuilt
from .identity import PREDECESSOR, Identity, artifact_key
from .inputs import Inputs
from .stage import Graph, Key, Stage
from .store import NO_PARTITION, Store


@dataclass
class Resolution:
    """The identity that a recipe gives a stage, and the artifact that the store has for it.

    identity: None if an input is not built. `missing` then names these inputs, and `partial` is the identity without
    them.
    unbuilt_crawls: crawls of the recipe that the stage would read if they were built.
    unreachable: why the external inputs cannot be read now. The artifact is then the newest one with this config, and a
    new one cannot be built.
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
        """The crawls whose artifacts it is built from, sorted."""
        return sorted({key.partition("/")[2] for key in self.inputs if "/" in key})


class Resolver:
    """Computes identities from the recipe and the store, input by input, without building anything."""

    def __init__(
        self,
        graph: Graph,
        recipe: Any,
        store: Store,
        states: dict[tuple[str, ...], Resolver] | None = None,
        crawls: frozenset[str] | None = None,
    ):
        """crawls: crawls that may count as built for a stage that reads several crawls; None allows all."""
        self.graph, self.recipe, self.store, self.crawls = graph, recipe, store, crawls
        self.left_out, self.inputs = graph.left_out(recipe), graph.inputs(recipe)
        self._known: dict[Key, Resolution] = {}
        # Resolvers of earlier states of the recipe, by their crawls, so that each state is resolved once.
        self._states: dict[tuple[str, ...], Resolver] = {} if states is None else states

    def resolve(self, name: str, partition: str | None) -> Resolution:
        """Resolve an asset. Raises ArtifactError for an unknown asset or a corrupt artifact."""
        key = (name, partition)
        if key not in self._known:
            self._known[key] = self._resolve(self.graph[name], partition)
        return self._known[key]

    def built_crawls(self, stage: Stage) -> tuple[list[str], list[str]]:
        """Crawls of the recipe that a stage without partitions reads: the built ones, and the others.

        A crawl counts as built if everything that needs no other crawl is. If a further artifact of a built crawl is
        missing (token shards of the current tokenizer), that is an error; the crawl is not left out.
        """
        last: set[str] = set()
        for name in self.inputs[stage.name]:
            if self.graph[name].per_crawl:
                last |= self.graph.crawl_stages(name)
        built, unbuilt = [], []
        for crawl in stage.crawls(self.recipe) if stage.crawls else self.recipe.corpus():
            allowed = self.crawls is None or crawl in self.crawls
            is_built = allowed and all(self.resolve(name, crawl).artifact is not None for name in last)
            (built if is_built else unbuilt).append(crawl)
        return built, unbuilt

    def dependencies(self, stage: Stage, partition: str | None) -> tuple[list[Key], list[str]]:
        """Keys of the artifacts that `stage` reads for a partition, and the crawls that it leaves out as not built."""
        keys: list[Key] = []
        crawls, unbuilt = ([], []) if stage.per_crawl else self.built_crawls(stage)
        for name in self.inputs[stage.name]:
            if not self.graph[name].per_crawl:
                keys.append((name, None))
            elif stage.per_crawl:
                keys.append((name, partition))
            else:
                # If no crawl is built, the first one is reported as missing.
                keys.extend((name, crawl) for crawl in crawls or unbuilt[:1])
        if stage.earlier_artifacts is not None:
            keys.extend(stage.earlier_artifacts(self.recipe, partition))
        return keys, unbuilt

    def _resolve(self, stage: Stage, partition: str | None) -> Resolution:
        inputs: dict[str, Artifact] = {}
        missing: list[str] = []
        keys, unbuilt = self.dependencies(stage, partition)
        for name, upstream_partition in keys:
            upstream = self.resolve(name, upstream_partition)
            artifact = upstream.artifact or self._before_growth(upstream)
            if artifact is None:
                missing.append(upstream.key)
            else:
                inputs[upstream.key] = artifact
        if stage.continues is not None and not missing:
            predecessor = self._predecessor(stage, [crawl for _, crawl in keys if crawl is not None])
            if predecessor is not None:
                inputs[f"{stage.name}{PREDECESSOR}"] = predecessor
        config = stage.config(self._recipe_of(stage, unbuilt), partition)
        versions = {key: artifact.data_version for key, artifact in inputs.items()}
        unreachable = None
        if stage.external_inputs is not None:
            try:
                versions.update(stage.external_inputs(config))
            except ExternalInputError as error:
                unreachable = error
        identity = Identity(stage.name, partition, stage.code_version, config, versions)
        if unreachable is not None:
            identity = self._last_seen(identity, lambda name: name not in versions) or identity
        artifact = None if missing else self.store.lookup(identity)
        return Resolution(
            stage,
            partition,
            config,
            None if missing else identity,
            artifact,
            Inputs(inputs, partition),
            missing,
            identity,
            unbuilt,
            unreachable,
        )

    def _before_growth(self, upstream: Resolution) -> Artifact | None:
        """The newest artifact of an input that differs from what would be built only in inputs that have grown.

        A vote during a run must not end it, and one after it must not hide the models that it built. An artifact with
        an input that no longer counts, as when the recipe counts no votes, is not used.
        """
        grows = upstream.stage.grows
        if grows is None or upstream.identity is None:
            return None
        inputs = upstream.identity.inputs
        others = {name: version for name, version in inputs.items() if not grows(name)}
        identity = self._last_seen(
            replace(upstream.identity, inputs=others),
            lambda name: grows(name) and name in inputs,
        )
        return None if identity is None else self.store.lookup(identity)

    def _last_seen(self, identity: Identity, is_ignored: Callable[[str], bool]) -> Identity | None:
        """The identity of the newest artifact that differs from this one only in inputs of some names.

        A folder that is unreachable for a day must not remove its crawl from the corpus, and so from the model.
        """
        wanted = identity.fields()
        for artifact in reversed(list(self.store.artifacts(identity.asset, identity.partition or NO_PARTITION))):
            fields = artifact.record.fields
            known = {name: version for name, version in fields["inputs"].items() if not is_ignored(name)}
            if {**fields, "inputs": known} == wanted:
                return replace(identity, inputs=fields["inputs"])
        return None

    def _recipe_of(self, stage: Stage, unbuilt: list[str]) -> Any:
        """The recipe of a stage's config. For a stage that `continues` another, it has only the built crawls."""
        recipe = self.recipe
        if stage.continues is not None:
            for crawl in unbuilt:
                recipe = recipe.without_crawl(crawl)
        return recipe

    def _predecessor(self, stage: Stage, crawls: list[str]) -> Artifact | None:
        """The artifact that the stage continues: the latest one in the store under an earlier state of the recipe."""
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
        """The artifact that the recipe asks for.

        Raises NotBuilt, LeftOut if the recipe leaves the stage out, or ExternalInputError for an unreadable input.
        """
        resolution = self.resolve(name, partition)
        self.refuse_left_out(resolution)
        if resolution.artifact is None:
            if resolution.unreachable is not None:
                raise resolution.unreachable
            crawl = f" --crawl {partition}" if partition else ""
            raise NotBuilt(
                f"{resolution.key} is not built under recipe {self.recipe.name!r}; "
                f"run: llm-assets run --select '*{name}'{crawl}"
            )
        return resolution.artifact

    def refuse_left_out(self, resolution: Resolution) -> None:
        """Raises LeftOut if the recipe leaves the stage out."""
        if (reason := self.left_out.get(resolution.stage.name)) is not None:
            raise LeftOut(f"{resolution.key} is left out under recipe {self.recipe.name!r}: {reason}")
