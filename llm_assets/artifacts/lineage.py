"""Where data came from and where it went: artifacts are followed through their inputs, documents through tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llm_assets.sql import query

from .errors import ArtifactError
from .materialize import Workspace
from .store import Artifact, Store


@dataclass(frozen=True)
class Sighting:
    """A row of a table that holds a document."""

    key: str
    identity: str
    table: str
    row: dict[str, Any]


def find_artifact(workspace: Workspace, name: str) -> Artifact:
    """An artifact by the start of its identity, or the recipe's current one by ``asset`` or ``asset/partition``."""
    asset, _, partition = name.partition("/")
    if asset in workspace.graph.stages:
        return workspace.resolver().artifact(asset, partition or None)
    if not re.fullmatch(r"[0-9a-f]+", name):
        raise ArtifactError(f"no artifact and no asset is called {name!r}; see: llm-assets artifacts list")
    return workspace.store.find(name)


def upstream(store: Store, artifact: Artifact) -> list[Artifact]:
    """The artifacts that this one was built from, directly or indirectly, nearest first."""
    by_version = {(stored.record.key, stored.data_version): stored for stored in store.artifacts()}

    def inputs(consumer: Artifact) -> list[Artifact]:
        return [by_version[version] for version in consumer.record.inputs if version in by_version]

    return _walk(artifact, inputs)


def downstream(store: Store, artifact: Artifact) -> list[Artifact]:
    """The artifacts that were built from this one, directly or indirectly, nearest first."""
    stored_artifacts = list(store.artifacts())

    def consumers(source: Artifact) -> list[Artifact]:
        version = (source.record.key, source.data_version)
        return [stored for stored in stored_artifacts if version in stored.record.inputs]

    return _walk(artifact, consumers)


def _walk(start: Artifact, neighbours: Callable[[Artifact], list[Artifact]]) -> list[Artifact]:
    """Breadth-first walk over the artifact graph, without `start`."""
    seen: dict[str, Artifact] = {}
    front = neighbours(start)
    while front:
        following = []
        for artifact in front:
            if artifact.record.identity not in seen:
                seen[artifact.record.identity] = artifact
                following.extend(neighbours(artifact))
        front = following
    return list(seen.values())


def trace_document(artifacts: list[Artifact], document: str) -> list[Sighting]:
    """Every row of the artifacts' tables about a document, named by its `doc_id` or URL, in the artifacts' order.

    String columns are cut to 200 characters.
    """
    sightings = []
    for artifact in artifacts:
        for table, schema in artifact.record.schemas.items():
            document_columns = [column for column in ("doc_id", "url") if column in schema]
            files = artifact.table(table)
            if not document_columns or not files:
                continue
            columns = ", ".join(
                f'left("{name}", 200) AS "{name}"' if dtype == "String" else f'"{name}"'
                for name, dtype in schema.items()
            )
            where = " OR ".join(f'"{column}" = $document' for column in document_columns)
            statement = f"SELECT {columns} FROM read_parquet($files, hive_partitioning = false) WHERE {where}"
            rows = query(statement, files=files, document=document)
            record = artifact.record
            sightings += [Sighting(record.key, record.short_id, table, row) for row in rows.to_dicts()]
    return sightings
