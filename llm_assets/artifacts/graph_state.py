"""The asset graph under a recipe, with the state of every asset and artifact, for programs that draw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .explain import Explanation, explain
from .last_built import LastBuilt
from .materialize import Workspace
from .stage import Stage

State = Literal["cached", "build", "depends", "unknown", "left_out"]
WORST: tuple[State, ...] = ("unknown", "build", "depends", "cached", "left_out")  # the first one is an asset's state


@dataclass(frozen=True)
class ArtifactState:
    """An artifact under the recipe. state, drifted, waits_for: see `Explanation`; reason: its text.

    identity: of the artifact in the store, whose views and rows these are; None if there is none. stale: a sentence
    that says why it is not what the recipe asks for now, but was built last; else empty. finished_at: UTC, ISO 8601.
    """

    key: str
    crawl: str | None
    state: State
    reason: str
    identity: str | None
    stale: str
    never_built: bool
    waits_for: list[str]
    drifted: list[str]
    finished_at: str | None
    bytes: int | None
    rows: dict[str, int]
    views: list[str]
    dagster_run: str | None


@dataclass(frozen=True)
class AssetState:
    """An asset. inputs: those that it reads under the recipe. left_out: why the recipe does without it."""

    name: str
    group: str
    description: str
    kinds: list[str]
    inputs: list[str]
    per_crawl: bool
    state: State
    left_out: str | None
    on_demand: bool
    artifacts: list[ArtifactState]


def graph_state(workspace: Workspace) -> list[AssetState]:
    """Every asset of the graph, upstream first."""
    keys = workspace.graph.keys(workspace.recipe)
    stored = LastBuilt(workspace)
    artifacts: dict[str, list[ArtifactState]] = {}
    explanations = explain(workspace, keys, stored.resolver, stored.used)
    for (name, crawl), explanation in zip(keys, explanations, strict=True):
        artifacts.setdefault(name, []).append(_artifact(stored, name, crawl, explanation))
    left_out = workspace.graph.left_out(workspace.recipe)
    on_demand = workspace.graph.on_demand(workspace.recipe)
    inputs = workspace.graph.inputs(workspace.recipe)
    return [
        _asset(stage, inputs[stage.name], left_out.get(stage.name), stage.name in on_demand, artifacts.get(stage.name))
        for stage in workspace.graph
    ]


def _asset(
    stage: Stage, inputs: list[str], left_out: str | None, on_demand: bool, artifacts: list[ArtifactState] | None
) -> AssetState:
    states = {artifact.state for artifact in artifacts or ()}
    return AssetState(
        name=stage.name,
        group=stage.group,
        description=stage.description,
        kinds=list(stage.kinds),
        inputs=inputs,
        per_crawl=stage.per_crawl,
        state=next((state for state in WORST if state in states), "left_out"),
        left_out=left_out,
        on_demand=on_demand,
        artifacts=artifacts or [],
    )


def _artifact(stored: LastBuilt, name: str, crawl: str | None, explanation: Explanation) -> ArtifactState:
    is_current = explanation.state == "cached"
    artifact = stored.resolver.resolve(name, crawl).artifact if is_current else stored.used.last(name, crawl)
    record = artifact.record if artifact is not None else None
    return ArtifactState(
        key=explanation.key,
        crawl=crawl,
        state=explanation.state,  # type: ignore[arg-type]
        reason=explanation.text(),
        identity=record.short_id if record else None,
        stale=explanation.why_stale() if record and not is_current else "",
        never_built=explanation.never_built,
        waits_for=explanation.waits_for,
        drifted=explanation.drifted,
        finished_at=str(record.timings.get("finished_at", ""))[:19] or None if record else None,
        bytes=record.total_bytes if record else None,
        rows=dict(record.rows) if record else {},
        views=list(record.views) if record else [],
        dagster_run=record.dagster_run_id if record else None,
    )
