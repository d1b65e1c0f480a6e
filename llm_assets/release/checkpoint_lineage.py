"""Checkpoints side by side: what each was built from, what that cost, and how the configs on the way differ."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_assets.artifacts import Artifact, Store, Workspace
from llm_assets.artifacts.errors import RESOLUTION_ERRORS
from llm_assets.artifacts.identity import differences
from llm_assets.artifacts.last_built import LastBuilt
from llm_assets.artifacts.lineage import upstream
from llm_assets.artifacts.record import Record
from llm_assets.evaluation.figures import MODELS
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.shape import ModelShape

from .scorecard import costs, total

SHAPE = "shape.json"
INPUTS = "inputs"  # the field of an identity that names other artifacts, whose own fields are compared


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint of the store. name: for requests. path: of its folder, in which a store at a URL has the files that
    say what a model it is. is_current: it is what the recipe asks for now. is_stale: it was built last, and is served
    under its asset's name until what the recipe asks for is built.

    finished_at: UTC, ISO 8601; empty for one that was adopted.
    """

    name: str
    path: Path
    asset: str
    identity: str
    is_current: bool
    is_stale: bool
    finished_at: str


@dataclass(frozen=True)
class Cost:
    """What builds took, as `scorecard.costs` measures it. bytes: on the disk."""

    seconds: float
    cpu_seconds: float
    flops: float
    watt_hours: float
    bytes: int


@dataclass(frozen=True)
class Build:
    """An artifact of a lineage. finished_at: UTC, ISO 8601. tokens: that it was trained on; 0 if it is no model."""

    key: str
    identity: str
    finished_at: str
    tokens: int
    cost: Cost


@dataclass(frozen=True)
class Lineage:
    """A checkpoint and what it was built from. builds: of all of it, upstream first. missing: inputs that the store
    no longer holds, and that the cost therefore leaves out.
    """

    asset: str
    identity: str
    parameters: int
    builds: list[Build]
    cost: Cost
    missing: list[str]


@dataclass(frozen=True)
class ConfigDifference:
    """A field of the config of an asset that lineages do not have in common. values: as text, one per lineage."""

    asset: str
    field: str
    values: list[str]


def stored_checkpoints(workspace: Workspace) -> list[StoredCheckpoint]:
    """The language models of the store: those of the recipe first, in the order of training, then the newest."""
    named = _named_checkpoints(workspace)
    checkpoints = []
    for asset in MODELS.values():
        identity, is_stale = named.get(asset, ("", False))
        for artifact in workspace.store.artifacts(asset):
            record = artifact.record
            is_named = record.identity == identity
            checkpoint = StoredCheckpoint(
                name=asset if is_named else record.short_id,
                path=artifact.folder_with((SHAPE, ASSISTANT)),
                asset=asset,
                identity=record.short_id,
                is_current=is_named and not is_stale,
                is_stale=is_named and is_stale,
                finished_at=_finished_at(record),
            )
            checkpoints.append(checkpoint)
    newest_first = sorted(checkpoints, key=lambda item: item.finished_at, reverse=True)
    assets = list(MODELS.values())
    return sorted(newest_first, key=lambda item: assets.index(item.asset) if item.name == item.asset else len(assets))


def _named_checkpoints(workspace: Workspace) -> dict[str, tuple[str, bool]]:
    """The language models that are served by the names of their assets: the identities, and whether they are stale."""
    stored, named = LastBuilt(workspace), {}
    for asset in MODELS.values():
        with contextlib.suppress(*RESOLUTION_ERRORS):  # it is not in the graph, left out, or never built
            artifact, is_stale = stored.current_or_last(asset)
            named[asset] = artifact.record.identity, is_stale
    return named


def lineage(workspace: Workspace, checkpoint: Artifact) -> Lineage:
    """What a checkpoint was built from, and what it cost."""
    artifacts = [*reversed(upstream(workspace.store, checkpoint)), checkpoint]
    built = {(artifact.record.key, artifact.data_version) for artifact in artifacts}
    missing = [
        key
        for artifact in artifacts
        for key, version in artifact.record.inputs
        if (key, version) not in built and key.partition("/")[0] in workspace.graph.stages
    ]
    record = checkpoint.record
    return Lineage(
        asset=record.asset,
        identity=record.short_id,
        parameters=ModelShape.load(checkpoint.file(SHAPE).read_text(), SHAPE).parameters,
        builds=[_build(artifact) for artifact in artifacts],
        cost=_cost(artifacts),
        missing=list(dict.fromkeys(missing)),
    )


def _build(artifact: Artifact) -> Build:
    record = artifact.record
    tokens = int(record.stats.get("tokens", 0)) if "flops" in record.stats else 0
    return Build(record.key, record.short_id, _finished_at(record), tokens, _cost([artifact]))


def _cost(artifacts: Sequence[Artifact]) -> Cost:
    rows = costs({artifact.record.identity: artifact for artifact in artifacts}, 0.0)
    sums = total(rows)
    return Cost(
        **{name: sums[name] for name in ("seconds", "cpu_seconds", "flops", "watt_hours")}, bytes=int(sums["bytes"])
    )


def _finished_at(record: Record) -> str:
    return str(record.timings.get("finished_at", ""))[:19]


def config_differences(store: Store, checkpoints: Sequence[Artifact]) -> list[ConfigDifference]:
    """Where the configs on the way to several checkpoints differ, for assets that all of them were built from."""
    fields = []
    for checkpoint in checkpoints:
        by_key: dict[str, dict[str, Any]] = {}
        for artifact in (checkpoint, *upstream(store, checkpoint)):
            by_key.setdefault(artifact.record.key, artifact.record.fields)
        fields.append(by_key)
    shared = [key for key in fields[0] if all(key in others for others in fields[1:])] if fields else []
    return [difference for key in reversed(shared) for difference in _differences(key, [each[key] for each in fields])]


def _differences(key: str, fields: Sequence[dict[str, Any]]) -> Iterator[ConfigDifference]:
    compared = [{name: value for name, value in each.items() if name != INPUTS} for each in fields]
    places: dict[str, list[str]] = {}
    for number, other in enumerate(compared[1:], 1):
        for place, first, value in differences(compared[0], other):
            places.setdefault(place, [str(first)] * len(compared))[number] = str(value)
    for place, values in places.items():
        yield ConfigDifference(key, place, values)
