"""Stages, each of which declares one asset, and the graph of stages: the asset graph without Dagster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from .artifact import Artifact
from .checks import Check
from .errors import ArtifactError
from .source import drift
from .views import View

if TYPE_CHECKING:
    from .step import Step

Key = tuple[str, str | None]


class NoConfig(BaseModel):
    """The config of a stage that does not read the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _no_config(recipe: Any, crawl: str | None) -> NoConfig:
    return NoConfig()


@dataclass(frozen=True)
class Retry:
    """Retry a step after these errors, such as temporary network errors."""

    on: tuple[type[Exception], ...]
    times: int = 2
    seconds: float = 10.0


@dataclass(frozen=True)
class Stage:
    """The declaration of an asset: how its artifact is identified and built, its checks and its views.

    build: ``build(step, config)`` writes the data into the step's staging folder.
    config: gives the typed, frozen slice of the recipe that `build` sees, for a recipe and a crawl. The slice, without
    its EXECUTION_ONLY fields, is part of the identity.
    config_per_crawl: whether the slice differs between crawls (as the source of a crawl does).
    code_version: raise it by hand whenever a change of code can change the artifact's bytes.
    per_crawl: whether there is one artifact per crawl. A crawl is a partition.
    inputs: names of the stages whose artifacts it reads. If both stages are per crawl, it reads that of the same crawl.
    If only the input is, it reads those of all built crawls of the recipe (or of the crawls that `crawls` gives).
    optional_inputs: those of `inputs` that it does without where the recipe leaves them out or builds them on demand.
    reads: gives the names of those optional inputs that it reads under a recipe; None reads all that there are.
    substitutes: for some of `inputs`, the asset that it reads in place of one that the recipe leaves out.
    left_out: gives the reason why a recipe leaves the stage out, such as settings that it lacks; None if it does not.
    Every stage that reads a stage that is left out, and not as an optional input, is left out too.
    external_inputs: gives the versions of external inputs (a folder of WARC files), by name, for a config.
    grows: tells by name which external inputs grow at any time, as votes do. Stages downstream read the newest artifact
    that differs in these alone; a new version is built only when this stage is asked for.
    earlier_artifacts: gives the keys of further artifacts that it reads (an earlier crawl of the same site).
    continues: gives the earlier recipe whose artifact of this stage the build continues, for a recipe and the crawls
    that are read. If that artifact is in the store, it is the input ``<name>@before``.
    locations: gives the current paths of files that the artifact references outside the store, for a config.
    tables, optional_tables: pandera schemas of the tables that it always, or sometimes, has.
    libraries: distributions whose versions the record stores.
    main_table: the table whose rows count as the asset's rows; None if there is none (a checkpoint, a page).
    show: gives Markdown texts and numbers for the asset's page, for an artifact.
    pool: the Dagster pool in which a build takes a slot.
    registered_folder: the folder of the artifact with a model for MLflow's registry; None if there is none.
    on_demand: whether it is built only when it is selected, or a function that tells for a recipe. The default run,
    schedules and sensors leave it out, and only stages that are built on demand too require it.
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
    optional_inputs: tuple[str, ...] = ()
    reads: Callable[[Any], Collection[str]] | None = None
    substitutes: Mapping[str, str] = field(default_factory=dict)
    left_out: Callable[[Any], str | None] | None = None
    external_inputs: Callable[[Any], Mapping[str, str]] | None = None
    grows: Callable[[str], bool] | None = None
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
    registered_folder: str | None = None
    on_demand: bool | Callable[[Any], bool] = False

    def inputs_under(self, recipe: Any) -> tuple[str, ...]:
        """The inputs without the optional ones that it does not read under the recipe."""
        if self.reads is None:
            return self.inputs
        read = self.reads(recipe)
        return tuple(name for name in self.inputs if name in read or name not in self.optional_inputs)


class Graph:
    """All stages, upstream first. Raises ArtifactError for a stage that comes before one of its inputs."""

    def __init__(self, stages: list[Stage]):
        self.stages = {stage.name: stage for stage in stages}
        seen: set[str] = set()
        for stage in stages:
            missing = [name for name in stage.inputs if name not in seen]
            if missing:
                raise ArtifactError(f"stage {stage.name} is listed before its inputs: {', '.join(missing)}")
            required = [name for name in stage.inputs if name not in stage.optional_inputs]
            on_demand = [name for name in required if self.stages[name].on_demand is True]
            if on_demand and not stage.on_demand:
                raise ArtifactError(f"stage {stage.name} reads stages that are built on demand: {', '.join(on_demand)}")
            unread = [name for name in stage.optional_inputs if name not in stage.inputs]
            if unread:
                raise ArtifactError(f"stage {stage.name}: optional inputs {', '.join(unread)} are not among its inputs")
            unknown = [name for name in stage.substitutes.values() if name not in seen]
            if unknown:
                raise ArtifactError(f"stage {stage.name} is listed before its substitutes: {', '.join(unknown)}")
            seen.add(stage.name)

    def __getitem__(self, name: str) -> Stage:
        try:
            return self.stages[name]
        except KeyError:
            raise ArtifactError(f"no asset {name!r}; the assets are {', '.join(self.stages)}") from None

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages.values())

    def spans_crawls(self, name: str) -> bool:
        """Whether the asset is, or is downstream of, an artifact that is built from all crawls."""
        stage = self[name]
        return any(
            (self[upstream].per_crawl and not stage.per_crawl) or self.spans_crawls(upstream)
            for upstream in stage.inputs
        )

    def crawl_stages(self, name: str) -> frozenset[str]:
        """The last stages on the way to a per-crawl asset that need no crawl but their own.

        A crawl counts as built if these are built. For ``token_shards``, whose tokenizer reads several crawls, that is
        ``clean_corpus``.
        """
        if not self.spans_crawls(name):
            return frozenset({name})
        return frozenset().union(
            *(self.crawl_stages(upstream) for upstream in self[name].inputs if self[upstream].per_crawl)
        )

    def crawl_order(self, recipe: Any, crawls: list[str]) -> list[str]:
        """The crawls, ordered so that each comes after those that it continues."""
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

    def left_out(self, recipe: Any) -> dict[str, str]:
        """Names of the stages that the recipe leaves out, upstream first, each with the reason.

        Raises ArtifactError if its `leave_out` names no asset.
        """
        named = recipe.leave_out
        for name in named:
            if name not in self.stages:
                raise ArtifactError(f"leave_out: no asset {name!r}; the assets are {', '.join(self.stages)}")
        reasons: dict[str, str] = {}
        for stage in self:
            reason = stage.left_out(recipe) if stage.left_out is not None else None
            if stage.name in named:
                reason = f"the recipe leaves out {stage.name} (leave_out)"
            for name in stage.inputs:
                if name not in stage.optional_inputs and stage.substitutes.get(name, name) in reasons:
                    reason = reason or reasons.get(name)
            if reason:
                reasons[stage.name] = reason
        return reasons

    def on_demand(self, recipe: Any) -> frozenset[str]:
        """Names of the stages that are built only when they are selected, under a recipe; of None, under every one."""

        def is_on_demand(stage: Stage) -> bool:
            if callable(stage.on_demand):
                return recipe is not None and stage.on_demand(recipe)
            return stage.on_demand

        return frozenset(stage.name for stage in self if is_on_demand(stage))

    def inputs(self, recipe: Any) -> dict[str, list[str]]:
        """Names of the stages that each stage reads under a recipe, which may leave some out or have substitutes."""
        left_out, on_demand = self.left_out(recipe), self.on_demand(recipe)
        read: dict[str, list[str]] = {}
        for stage in self:
            absent = left_out.keys() if stage.name in on_demand else left_out.keys() | on_demand
            names = [
                stage.substitutes.get(name, name) if name in left_out else name for name in stage.inputs_under(recipe)
            ]
            read[stage.name] = [
                name for name in dict.fromkeys(names) if name not in stage.optional_inputs or name not in absent
            ]
        return read

    def keys(self, recipe: Any) -> list[Key]:
        """Every (asset, crawl) that the recipe builds, upstream first; without partitions, the crawl is None."""
        left_out = self.left_out(recipe)
        return [
            (stage.name, crawl)
            for stage in self
            if stage.name not in left_out
            for crawl in (recipe.corpus() if stage.per_crawl else [None])
        ]


def drifted_modules(stage: Stage, artifact: Artifact) -> list[str]:
    """Modules of the stage's code whose source has changed since the artifact was built.

    The artifact stays valid as long as `code_version` is the same: drift is reported but causes no rebuild.
    """
    return drift(stage.build, artifact.record.source)
