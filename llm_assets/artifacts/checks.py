"""Checks of stored artifacts. An artifact never changes, so a check's outcome is stored and reused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .artifact import Artifact
from .identity import fingerprint
from .inputs import Inputs
from .source import changed, source_digests
from .store import Store
from .tables import TableInvalid, row_count, scan_table, validate

if TYPE_CHECKING:
    from .resolver import Resolution
    from .stage import Stage

BATCH_ROWS = 50_000
SCHEMA = "schema"


@dataclass
class CheckOutcome:
    """The outcome of a check. `failures` holds up to 20 failing rows as plain values, `numbers` what can be plotted."""

    passed: bool
    summary: str
    failures: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A question about an artifact.

    examine: ``examine(artifact, inputs, config)`` answers it from the artifact, its inputs and a slice of the recipe.
    config: gives that slice for a recipe and a crawl. None uses the config of the stage.
    blocking: whether downstream assets wait for the check to pass. Otherwise, a failure is a warning.
    code_version: raise it by hand when `examine` would find something else in the same artifact.
    source: functions or classes whose modules decide the outcome, if these are not the modules of `examine`.
    """

    name: str
    description: str
    examine: Callable[[Artifact, Inputs, Any], CheckOutcome]
    blocking: bool = False
    config: Callable[[Any, str | None], Any] | None = None
    code_version: str = "1"
    source: tuple[Callable[..., Any], ...] = ()

    def digests(self) -> dict[str, str]:
        """Digests of the source files that decide the outcome."""
        return source_digests(*(self.source or (self.examine,)))


@dataclass(frozen=True)
class CheckResult:
    """The outcome of a check, and the modules whose source has changed since the check ran."""

    check: Check
    outcome: CheckOutcome
    drifted: list[str]


def stage_checks(stage: Stage) -> tuple[Check, ...]:
    """The checks of a stage: a schema check if it has tables, then the stage's own checks."""
    if not (stage.tables or stage.optional_tables):
        return stage.checks

    def examine(artifact: Artifact, inputs: Inputs, config: Any) -> CheckOutcome:
        return check_schemas(stage, artifact)

    models = {**stage.tables, **stage.optional_tables}
    schema = Check(
        name=SCHEMA,
        description=f"Every row of {', '.join(models)} conforms to its pandera schema.",
        examine=examine,
        blocking=True,
        code_version=stage.code_version,
        source=tuple(models.values()),
    )
    return (schema, *stage.checks)


def remembered_result(check: Check, resolution: Resolution, recipe: Any, store: Store) -> CheckResult | None:
    """The stored result of a check of the resolution's artifact; None if the check has not run.

    A result belongs to the artifact's identity and data version, and to the check's `code_version` and config.
    """
    try:
        stored = json.loads(store.read_check(_result_name(check, resolution, recipe)) or b"")
        return CheckResult(check, CheckOutcome(**stored["outcome"]), changed(check.digests(), stored["source"]))
    except (ValueError, TypeError, KeyError):
        return None


def examine(check: Check, resolution: Resolution, recipe: Any, store: Store) -> CheckResult:
    """The result of a check of the resolution's artifact: the stored one, or else the check runs now."""
    remembered = remembered_result(check, resolution, recipe, store)
    if remembered is not None:
        return remembered
    artifact = resolution.artifact
    assert artifact is not None
    outcome = check.examine(artifact, resolution.inputs, _config(check, resolution, recipe))
    result = {"outcome": asdict(outcome), "source": check.digests()}
    store.write_check(_result_name(check, resolution, recipe), json.dumps(result, default=str).encode())
    # Through JSON, so that a new result equals the one that is read back later.
    return CheckResult(check, CheckOutcome(**json.loads(json.dumps(asdict(outcome), default=str))), [])


def _config(check: Check, resolution: Resolution, recipe: Any) -> Any:
    return check.config(recipe, resolution.partition) if check.config else resolution.config


def _result_name(check: Check, resolution: Resolution, recipe: Any) -> str:
    """The name under which the store has the result of a check."""
    artifact = resolution.artifact
    assert artifact is not None
    versions = {"code_version": check.code_version, "data_version": artifact.data_version}
    config = _config(check, resolution, recipe)
    key = fingerprint({**versions, "config": config, "identity": artifact.record.identity})[:16]
    return f"{artifact.record.short_id}/{check.name}@{key}.json"


def check_schemas(stage: Stage, artifact: Artifact) -> CheckOutcome:
    """Validate every row of every table on disk against its pandera schema, in batches."""
    rows = 0
    present = {table: model for table, model in stage.optional_tables.items() if artifact.table(table)}
    tables = {**stage.tables, **present}
    for table, model in tables.items():
        for path in artifact.table(table):
            total = row_count(path)
            for start in range(0, max(total, 1), BATCH_ROWS):
                frame = scan_table(path).slice(start, BATCH_ROWS).collect()
                rows += len(frame)
                try:
                    validate(model, frame)
                except TableInvalid as error:
                    failures = error.failures.to_dicts() if error.failures is not None else []
                    plain = [{name: str(value) for name, value in row.items()} for row in failures]
                    return CheckOutcome(False, f"{path.name}, rows from {start}: {error}", plain, {"rows": rows})
    return CheckOutcome(True, f"{rows:,} rows of {len(tables)} tables", numbers={"rows": rows})
