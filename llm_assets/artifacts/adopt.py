"""Take data that already exists into the store, as the artifact that the recipe asks for."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from .errors import ArtifactError, NotBuilt
from .materialize import Workspace
from .record import RECORD, FileEntry, Record, data_version, file_digest, fsync_path
from .stage import Stage
from .store import LOCATIONS, Artifact, clear_disk_errors
from .tables import TableInvalid, polars_schema, validate
from .views import SIDECARS, draw_views


def adopt(stage: Stage, partition: str | None, workspace: Workspace, folder: Path) -> Artifact:
    """Copy `folder` (laid out as the artifact: ``<table>/<part>.parquet`` and other files) into the store.

    Every table is checked against its schema. Views are drawn anew: of a folder out of another store, only the data is
    taken. Raises ArtifactError when a table is missing or the artifact exists,
    TableInvalid with the failing rows, NotBuilt when an input is missing (the identity needs its data version).
    """
    resolution = workspace.resolver().resolve(stage.name, partition)
    if resolution.identity is None:
        raise NotBuilt(
            f"{resolution.key} cannot be adopted before its inputs are built: {', '.join(resolution.missing)}"
        )
    if resolution.artifact is not None:
        raise ArtifactError(f"{resolution.key} is in the store already: {resolution.artifact.path}")
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder")
    rows, schemas = {}, {}
    for table, model in {**stage.tables, **stage.optional_tables}.items():
        files = sorted((folder / table).glob("*.parquet"))
        if not files and table in stage.optional_tables:
            continue
        if not files:
            raise ArtifactError(f"{folder}: no {table}/*.parquet, which {stage.name} must hold")
        rows[table] = 0
        schemas[table] = {name: str(dtype) for name, dtype in polars_schema(model).items()}
        for file in files:
            frame = pl.read_parquet(file)
            try:
                validate(model, frame)
            except TableInvalid as error:
                raise TableInvalid(f"{file}: {error}", error.failures) from error
            rows[table] += len(frame)
    store = workspace.store
    with store.lock(resolution.identity), clear_disk_errors(store.root):
        staging = store.open_staging(resolution.identity)
        shutil.rmtree(staging)
        shutil.copytree(folder, staging)
        for name in (RECORD, LOCATIONS, *SIDECARS, *(view.file for view in stage.views)):
            (staging / name).unlink(missing_ok=True)
        files = {}
        for path in sorted(p for p in staging.rglob("*") if p.is_file()):
            files[str(path.relative_to(staging))] = FileEntry(bytes=path.stat().st_size, sha256=file_digest(path))
            fsync_path(path)
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
