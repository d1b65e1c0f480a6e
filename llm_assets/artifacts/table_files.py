"""The tables of a recipe's built artifacts, by the names under which SQL reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifact import Artifact
from .errors import RESOLUTION_ERRORS
from .materialize import Workspace
from .tables import polars_schema


@dataclass(frozen=True)
class TableFiles:
    """A table of an asset over all its partitions.

    name: the asset's, for its main table or its only one; else ``<asset>_<table>``. columns: Polars types by name.
    artifacts: identities of those that the files belong to.
    """

    name: str
    asset: str
    table: str
    columns: dict[str, str]
    rows: int
    files: list[Path]
    artifacts: list[str]


def built_artifacts(workspace: Workspace) -> Iterator[tuple[Any, list[Artifact]]]:
    """Every stage of the recipe, with those of its artifacts that are built, upstream first."""
    resolver = workspace.resolver()
    artifacts: dict[str, list[Artifact]] = {}
    for name, partition in workspace.graph.keys(workspace.recipe):
        of_stage = artifacts.setdefault(name, [])
        try:
            artifact = resolver.resolve(name, partition).artifact
        except RESOLUTION_ERRORS:
            continue  # a source that cannot be reached hides no other table
        if artifact is not None:
            of_stage.append(artifact)
    for name, of_stage in artifacts.items():
        yield workspace.graph[name], of_stage


def table_files(workspace: Workspace) -> dict[str, TableFiles]:
    """The tables of the artifacts that the recipe resolves to now, by name; those without files are left out."""
    tables: dict[str, TableFiles] = {}
    for stage, artifacts in built_artifacts(workspace):
        schemas = {**stage.tables, **stage.optional_tables}
        main = stage.main_table or (next(iter(schemas)) if len(schemas) == 1 else None)
        for table, schema in schemas.items():
            files = [file for artifact in artifacts for file in artifact.table(table)]
            if files:
                name = stage.name if table == main else f"{stage.name}_{table}"
                columns = {column: str(dtype) for column, dtype in polars_schema(schema).items()}
                rows = sum(artifact.record.rows.get(table, 0) for artifact in artifacts)
                identities = [artifact.record.short_id for artifact in artifacts]
                tables[name] = TableFiles(name, stage.name, table, columns, rows, files, identities)
    return tables
