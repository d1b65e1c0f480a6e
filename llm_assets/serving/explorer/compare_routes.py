"""Checkpoints to compare: those of the store, what they were built from, and what that cost."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from llm_assets.artifacts.record import RECORD, Record
from llm_assets.artifacts.store import Artifact
from llm_assets.release.checkpoint_lineage import (
    ConfigDifference,
    Lineage,
    StoredCheckpoint,
    config_differences,
    lineage,
    stored_checkpoints,
)

from ..checkpoints import DESCRIPTION, Checkpoints, folder_facts
from ..errors import ApiError
from .reading import Reader

MOST_MODELS = 8  # in one comparison

Names = Annotated[list[str], Query(min_length=1, max_length=MOST_MODELS)]


class ComparableModel(BaseModel):
    """A checkpoint that can be asked. asset, identity, finished_at: empty for a folder outside the store.

    name: for requests. is_current: it is the recipe's. is_stale: it was the recipe's when it was built, and has its
    asset's name until the next one is built. tools: those that it has learnt to call.
    """

    name: str
    asset: str
    identity: str
    is_current: bool
    is_stale: bool
    finished_at: str
    chat: bool
    tools: list[str]
    context: int


class ComparableModels(BaseModel):
    recipe: str
    models: list[ComparableModel]


class ModelLineage(BaseModel):
    """lineage: none for a folder that is no artifact."""

    model: str
    lineage: Lineage | None


class LineagesBody(BaseModel):
    """differences: of configs; none if one of the models has no lineage."""

    models: list[ModelLineage]
    differences: list[ConfigDifference]


def add_compare(router: APIRouter, reader: Reader, checkpoints: Checkpoints) -> None:
    @router.get("/compare/models")
    async def models() -> ComparableModels:
        """Every checkpoint that can be asked: the server's folders, and the language models of the store."""
        return await reader.run(partial(_models, reader, checkpoints))

    @router.get("/compare/lineages")
    async def lineages(model: Names) -> LineagesBody:
        """What these checkpoints were built from and what that cost, and how their configs differ."""
        return await reader.run(partial(_lineages, reader, checkpoints, model))


def _models(reader: Reader, checkpoints: Checkpoints) -> ComparableModels:
    folders = [StoredCheckpoint(name, path, "", "", False, False, "") for name, path in checkpoints.folders.items()]
    listed = []
    for checkpoint in (*folders, *stored_checkpoints(reader.workspace)):
        with contextlib.suppress(ApiError):  # deleted a moment ago, or broken
            facts = folder_facts(checkpoint.name, checkpoint.path)
            listed.append(
                ComparableModel(
                    name=checkpoint.name,
                    asset=checkpoint.asset,
                    identity=checkpoint.identity,
                    is_current=checkpoint.is_current,
                    is_stale=checkpoint.is_stale,
                    finished_at=checkpoint.finished_at,
                    chat=facts.is_chat,
                    tools=list(facts.tools),
                    context=facts.context,
                )
            )
    return ComparableModels(recipe=reader.workspace.recipe.name, models=listed)


def _lineages(reader: Reader, checkpoints: Checkpoints, names: list[str]) -> LineagesBody:
    rows, artifacts = [], []
    for name in dict.fromkeys(names):
        _, folder = checkpoints.find(name, DESCRIPTION)
        artifact = None
        if (folder / RECORD).is_file():
            artifact = Artifact(folder, Record.load((folder / RECORD).read_bytes(), str(folder / RECORD)))
            artifacts.append(artifact)
        rows.append(ModelLineage(model=name, lineage=artifact and lineage(reader.workspace, artifact)))
    has_all = len(artifacts) == len(rows) > 1
    return LineagesBody(
        models=rows, differences=config_differences(reader.workspace.store, artifacts) if has_all else []
    )
