"""The asset graph with its state, records and reports, and where Dagster and MLflow show them."""

from __future__ import annotations

import mimetypes
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response

from llm_assets.artifacts.errors import ArtifactError, NotBuilt
from llm_assets.artifacts.graph_state import graph_state
from llm_assets.artifacts.last_built import current_or_last_built
from llm_assets.artifacts.lineage import downstream, find_artifact, upstream
from llm_assets.artifacts.store import Artifact

from ..errors import ApiError
from .foreign_pages import own_view
from .protocol import ArtifactBody, BuildBody, PipelineBody, Related
from .reading import Reader

Name = Annotated[str, Query(min_length=1, max_length=300)]


def add_pipeline(router: APIRouter, reader: Reader) -> None:
    @router.get("/pipeline")
    async def pipeline() -> PipelineBody:
        """Every asset with the state of its artifacts: cached, or why it would be built, and what was built last."""
        return await reader.run(partial(reader.remembered, "pipeline", partial(_pipeline, reader), 2.0))

    @router.get("/pipeline/artifact")
    async def artifact(name: Name) -> ArtifactBody:
        """An artifact by identity, ``asset`` or ``asset/crawl``: its record and its lineage."""
        return await reader.run(partial(_artifact, reader, name))

    @router.get(
        "/pipeline/view",
        response_class=Response,
        responses={200: {"content": {"text/html": {}, "image/svg+xml": {}, "image/png": {}, "text/markdown": {}}}},
    )
    async def view(name: Name, file: Name) -> Response:
        """A page or plot of an artifact (`views` of ``/api/pipeline``)."""

        def read() -> tuple[bytes, str]:
            stored = _find(reader, name)
            if file not in stored.record.views:
                raise ApiError(404, f"{stored.record.key} has no view {file[:100]!r}", "not_found", "file")
            kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
            return stored.view(file).read_bytes(), kind

        return own_view(*await reader.run(read))


def _find(reader: Reader, name: str) -> Artifact:
    """See `find_artifact`; of a stale asset, the artifact that was built last. Raises ApiError (404) and NotBuilt."""
    asset, _, partition = name.partition("/")
    try:
        if asset in reader.workspace.graph.stages:
            return current_or_last_built(reader.workspace, asset, partition or None)[0]
        return find_artifact(reader.workspace, name)
    except NotBuilt:
        raise
    except ArtifactError as error:
        raise ApiError(404, str(error), "not_found", "name") from error


def _pipeline(reader: Reader) -> PipelineBody:
    workspace, settings = reader.workspace, reader.settings
    dagster = settings.dagster_url.rstrip("/")
    assets = graph_state(workspace)
    builds = workspace.store.builds_in_progress()
    return PipelineBody(
        recipe=workspace.recipe.name,
        crawls=workspace.recipe.corpus(),
        dagster=dagster,
        mlflow=settings.mlflow_url.rstrip("/"),
        assets=assets,
        dagster_assets={asset.name: f"{dagster}/assets/{asset.name}" for asset in assets},
        builds=[BuildBody(key=build.key, holder=build.holder, since=build.since) for build in builds],
    )


def _artifact(reader: Reader, name: str) -> ArtifactBody:
    stored = _find(reader, name)
    store = reader.workspace.store

    def related(artifacts: list[Artifact]) -> list[Related]:
        return [Related(key=artifact.record.key, identity=artifact.record.short_id) for artifact in artifacts]

    return ArtifactBody(
        record=stored.record.model_dump(mode="json"),
        upstream=related(upstream(store, stored)),
        downstream=related(downstream(store, stored)),
    )
