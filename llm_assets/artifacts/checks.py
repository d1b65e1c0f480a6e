"""Checks of stored artifacts, remembered beside them: an artifact never changes, so neither does a check's outcome."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from .record import write_atomic
from .stage import Stage
from .store import Artifact, Store
from .tables import TableInvalid, row_count, validate

BATCH_ROWS = 50_000


@dataclass
class CheckOutcome:
    """What a check found. `failures` holds up to 20 failing rows as plain values."""

    passed: bool
    summary: str
    failures: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)


def remembered(store: Store, name: str, version: str, artifact: Artifact, others: list[Artifact], check: Callable[[], CheckOutcome]) -> CheckOutcome:
    """The outcome of `check` on `artifact` (and `others` it is held against), computed once for their data versions."""
    versions = "-".join(a.data_version[:12] for a in others)
    path = store.root / ".checks" / artifact.record.short / f"{name}@{version}{f'-{versions}' if versions else ''}.json"
    if path.exists():
        try:
            return CheckOutcome(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            path.unlink()
    outcome = check()
    write_atomic(path, json.dumps(asdict(outcome), default=str).encode())
    return outcome


def check_schemas(stage: Stage, artifact: Artifact) -> CheckOutcome:
    """Every row of every table on the disk against its pandera schema, in batches."""
    rows = 0
    tables = {**stage.tables, **{table: model for table, model in stage.optional_tables.items() if artifact.table(table)}}
    for table, model in tables.items():
        for path in artifact.table(table):
            total = row_count(path)
            for start in range(0, max(total, 1), BATCH_ROWS):
                frame = pl.scan_parquet(path).slice(start, BATCH_ROWS).collect()
                rows += len(frame)
                try:
                    validate(model, frame)
                except TableInvalid as error:
                    failures = error.failures.to_dicts() if error.failures is not None else []
                    return CheckOutcome(False, f"{path.name}, rows from {start}: {error}", [{k: str(v) for k, v in row.items()} for row in failures])
    return CheckOutcome(True, f"{rows:,} rows of {len(tables)} tables", numbers={"rows": rows})
