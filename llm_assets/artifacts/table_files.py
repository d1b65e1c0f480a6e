"""The tables of a recipe's built artifacts, by the names under which SQL reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .artifact import Artifact
from .errors import RESOLUTION_ERRORS
from .last_built import LastBuilt
from .materialize import Workspace
from .stage import Stage
from .tables import polars_schema


@dataclass(frozen=True)
class TableFiles:
    """A table of an asset over all its partitions.

    name: the asset's, for its main table or its only one; else ``<asset>_<table>``. columns: Polars types by name.
    artifacts: identities of those that the files belong to. stale: a sentence for each of them that is not what the
    recipe asks for now, but was built last.
    """

    name: str
    asset: str
    table: str
    columns: dict[str, str]
    rows: int
    files: list[Path]
    artifacts: list[str]
    stale: list[str]


@dataclass(frozen=True)
class _Stored:
    """An artifact. why_stale: empty if it is what the recipe asks for now."""

    artifact: Artifact
    why_stale: str


def _stored_artifacts(workspace: Workspace) -> Iterator[tuple[Stage, list[_Stored]]]:
    """Every stage of the recipe, upstream first, with its artifacts as they are or else as they were built last."""
    stored = LastBuilt(workspace)
    artifacts: dict[str, list[_Stored]] = {}
    for name, partition in workspace.graph.keys(workspace.recipe):
        of_stage = artifacts.setdefault(name, [])
        with contextlib.suppress(*RESOLUTION_ERRORS):  # a source that cannot be reached hides no other table
            artifact, is_stale = stored.current_or_last(name, partition)
            of_stage.append(_Stored(artifact, stored.why_stale(name, partition) if is_stale else ""))
    for name, of_stage in artifacts.items():
        yield workspace.graph[name], of_stage


def table_files(workspace: Workspace) -> dict[str, TableFiles]:
    """The tables of the recipe's artifacts, as they are or else as they were built last, by name.

    Tables without files are left out, and those that were written with other columns than the stage has now.
    """
    tables: dict[str, TableFiles] = {}
    for stage, stored in _stored_artifacts(workspace):
        schemas = {**stage.tables, **stage.optional_tables}
        main = stage.main_table or (next(iter(schemas)) if len(schemas) == 1 else None)
        for table, schema in schemas.items():
            columns = {column: str(dtype) for column, dtype in polars_schema(schema).items()}
            shown = [item for item in stored if item.artifact.record.schemas.get(table, columns) == columns]
            files = [file for item in shown for file in item.artifact.table(table)]
            if files:
                name = stage.name if table == main else f"{stage.name}_{table}"
                tables[name] = TableFiles(
                    name=name,
                    asset=stage.name,
                    table=table,
                    columns=columns,
                    rows=sum(item.artifact.record.rows.get(table, 0) for item in shown),
                    files=files,
                    artifacts=[item.artifact.record.short_id for item in shown],
                    stale=[item.why_stale for item in shown if item.why_stale],
                )
    return tables
