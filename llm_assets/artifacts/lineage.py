"""Where data came from and where it went: artifacts are followed through their inputs, documents through tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from llm_assets.sql import query

from .artifact import Artifact
from .errors import ArtifactError
from .materialize import Workspace
from .store import Store
from .tables import row_groups

SHOWN_CHARACTERS = 200  # of a text in a row


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
    readers: dict[tuple[str, str], list[Artifact]] = defaultdict(list)
    for stored in store.artifacts():
        for version in dict.fromkeys(stored.record.inputs):
            readers[version].append(stored)

    def consumers(source: Artifact) -> list[Artifact]:
        return readers[source.record.key, source.data_version]

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

    String columns are cut to SHOWN_CHARACTERS.
    """
    sightings = []
    for artifact in artifacts:
        for table, schema in artifact.record.schemas.items():
            document_columns = [column for column in ("doc_id", "url") if column in schema]
            names = artifact.table_files(table)
            if not document_columns or not names:
                continue
            if all((artifact.folder / name).exists() for name in names):
                rows = _rows_on_disk(artifact, table, document_columns, document)
            else:
                rows = _rows_at_url(artifact, table, document_columns, document)
            record = artifact.record
            sightings += [Sighting(record.key, record.short_id, table, row) for row in rows]
    return sightings


def _rows_on_disk(artifact: Artifact, table: str, document_columns: list[str], document: str) -> list[dict[str, Any]]:
    columns = ", ".join(
        f'left("{name}", {SHOWN_CHARACTERS}) AS "{name}"' if dtype == "String" else f'"{name}"'
        for name, dtype in artifact.record.schemas[table].items()
    )
    where = " OR ".join(f'"{column}" = $document' for column in document_columns)
    statement = f"SELECT {columns} FROM read_parquet($files, hive_partitioning = false) WHERE {where}"
    return query(statement, files=artifact.table(table), document=document).to_dicts()


def _rows_at_url(artifact: Artifact, table: str, document_columns: list[str], document: str) -> list[dict[str, Any]]:
    """Rows of files that are not on disk: the columns that name documents, then the row groups that hold this one."""
    schema = artifact.record.schemas[table]
    rows: list[dict[str, Any]] = []
    for name in artifact.table_files(table):
        with artifact.open(name) as stream:
            for read in row_groups(stream):
                is_document = pl.any_horizontal(pl.col(column) == document for column in document_columns)
                if not read(document_columns).select(is_document.any()).item():
                    continue
                texts = [pl.col(column).str.head(SHOWN_CHARACTERS) for column in schema if schema[column] == "String"]
                rows += read(list(schema)).filter(is_document).with_columns(texts).to_dicts()
    return rows
