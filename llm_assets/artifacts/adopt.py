"""Copy existing data into the store, as the artifact that the recipe asks for."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from .artifact import LOCATIONS, Artifact
from .errors import ArtifactError, NotBuilt, clear_disk_errors
from .materialize import Workspace
from .record import RECORD, FileEntry, Record, data_version, file_digest, fsync_path
from .stage import Stage
from .tables import TableInvalid, polars_schema, read_table, validate
from .views import SIDECARS, draw_views


def adopt(stage: Stage, partition: str | None, workspace: Workspace, folder: Path) -> Artifact:
    """Copy `folder` (laid out as the artifact: ``<table>/<task>.parquet`` and other files) into the store.

    Every table is checked against its schema. If the folder comes from another store, only its data is taken; views are
    drawn again. Raises ArtifactError if a table is missing or the artifact exists, TableInvalid with the failing rows,
    and NotBuilt if an input is missing (the identity needs its data version).
    """
    store = workspace.store
    resolution = workspace.resolver().resolve(stage.name, partition)
    if resolution.identity is None:
        raise NotBuilt(
            f"{resolution.key} cannot be adopted before its inputs are built: {', '.join(resolution.missing)}"
        )
    if resolution.artifact is not None:
        raise ArtifactError(f"{resolution.key} is in the store already: {resolution.artifact.location}")
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder")
    rows, schemas = _validated_tables(stage, folder)
    with store.lock(resolution.identity), clear_disk_errors(store.root):
        staging = store.open_staging(resolution.identity)
        files = _copy_data(stage, folder, staging)
        now = datetime.now(UTC).isoformat()
        record = Record(
            asset=stage.name,
            partition=partition,
            identity=resolution.identity.digest,
            fields=resolution.identity.fields(),
            data_version=data_version(files),
            files=files,
            rows=rows,
            schemas=schemas,
            views=[view.file for view in stage.views],
            timings={"started_at": now, "finished_at": now, "seconds": 0.0, "cpu_seconds": 0.0},
            adopted=True,
        )
        artifact = store.publish(resolution.identity, staging, record)
    draw_views(resolution, artifact)
    workspace.remember(resolution)
    return artifact


def _validated_tables(stage: Stage, folder: Path) -> tuple[dict[str, int], dict[str, dict[str, str]]]:
    """Row counts and column types of the stage's tables in `folder`, by table. Raises ArtifactError, TableInvalid."""
    rows: dict[str, int] = {}
    schemas: dict[str, dict[str, str]] = {}
    for table, model in {**stage.tables, **stage.optional_tables}.items():
        files = sorted((folder / table).glob("*.parquet"))
        if not files and table in stage.optional_tables:
            continue
        if not files:
            raise ArtifactError(f"{folder}: no {table}/*.parquet, which {stage.name} must hold")
        rows[table] = 0
        schemas[table] = {name: str(dtype) for name, dtype in polars_schema(model).items()}
        for file in files:
            frame = read_table(file)
            try:
                validate(model, frame)
            except TableInvalid as error:
                raise TableInvalid(f"{file}: {error}", error.failures) from error
            rows[table] += len(frame)
    return rows, schemas


def _copy_data(stage: Stage, folder: Path, staging: Path) -> dict[str, FileEntry]:
    """Copy a folder into staging, without its record, views and sidecars. Returns the entries of the files."""
    shutil.rmtree(staging)
    shutil.copytree(folder, staging)
    for name in (RECORD, LOCATIONS, *SIDECARS, *(view.file for view in stage.views)):
        (staging / name).unlink(missing_ok=True)
    entries = {}
    for path in sorted(path for path in staging.rglob("*") if path.is_file()):
        entries[str(path.relative_to(staging))] = FileEntry(bytes=path.stat().st_size, sha256=file_digest(path))
        fsync_path(path)
    return entries
