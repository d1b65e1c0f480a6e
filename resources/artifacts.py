"""The artifact store as a Dagster resource: how an asset body becomes one line."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.errors import DagsterPipesExecutionError

from llm_assets.artifacts import Artifact, Outcome, Stage, Workspace, materialize
from llm_assets.artifacts.checks import CheckOutcome, check_schemas, remembered
from llm_assets.artifacts.identity import fingerprint
from llm_assets.artifacts.progress import Event
from llm_assets.artifacts.tables import row_count
from llm_assets.graph import open_workspace

from .compute import Compute
from .tracking import Tracking

CRAWLS = dg.DynamicPartitionsDefinition(name="crawl")
LOG_SECONDS = 5.0
PREVIEW_ROWS = 10
PREVIEW_CHARACTERS = 80


class Artifacts(dg.ConfigurableResource):
    """Looks artifacts up in the store and builds what is missing.

    recipe: a recipe's name, ``module:function`` or ``file.py:function``; empty for LLM_ASSETS_RECIPE or `laptop`.
    """

    recipe: str = ""
    compute: dg.ResourceDependency[Compute]
    tracking: dg.ResourceDependency[Tracking]

    def workspace(self, run_id: str | None = None) -> Workspace:
        workspace = open_workspace(self.recipe or None)
        workspace.engine = self.compute.engine()
        workspace.tracker = self.tracking.tracker(run_id)
        workspace.dagster_run_id = run_id
        return workspace

    def materialize(self, context: dg.AssetExecutionContext, stage: Stage, show: Callable[[Artifact], dict[str, Any]] | None = None) -> dg.MaterializeResult:
        """Return the stage's artifact for this run's partition, cached or built, with its metadata (and what `show` adds)."""
        partition = context.partition_key if stage.per_crawl else None
        workspace = self.workspace(context.run_id)
        workspace.launcher = _pipes_launcher(context)
        outcome = materialize(stage, partition, workspace, [_log_progress(context.log)])
        return dg.MaterializeResult(data_version=dg.DataVersion(outcome.artifact.data_version), metadata={**metadata(stage, outcome), **(show(outcome.artifact) if show else {})})

    def check(self, context: dg.AssetCheckExecutionContext, stage: Stage, name: str, version: str, examine: Callable[[Artifact, Workspace, str | None], tuple[list[Artifact], Callable[[], CheckOutcome]]], severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR, reads: tuple[str, ...] = ()) -> dg.AssetCheckResult:
        """Examine the artifact of this run's partition, or of every crawl when the check is run by itself.

        `examine` gives the artifacts that the outcome depends on besides the first, and the examination; `reads` names
        the parts of the recipe that it depends on too.
        """
        workspace = self.workspace(context.run.run_id)
        if reads:
            version = f"{version}-{fingerprint({name: getattr(workspace.recipe, name) for name in reads})[:12]}"
        resolver = workspace.resolver()
        tagged = context.run.tags.get("dagster/partition")
        partitions: list[str | None] = [None] if not stage.per_crawl else [tagged] if tagged else list(workspace.recipe.corpus())
        outcomes: dict[str, CheckOutcome] = {}
        for partition in partitions:
            artifact = resolver.artifact(stage.name, partition)
            others, work = examine(artifact, workspace, partition)
            outcomes[artifact.record.key] = remembered(workspace.store, name, version, artifact, others, work)
        failed = {key: outcome for key, outcome in outcomes.items() if not outcome.passed}
        details: dict[str, Any] = {key: outcome.summary for key, outcome in outcomes.items()}
        rows = [row for outcome in failed.values() for row in outcome.failures]
        if rows:
            details["failing_rows"] = dg.MetadataValue.md(markdown_table(pl.DataFrame(rows, infer_schema_length=None)))
        return dg.AssetCheckResult(passed=not failed, metadata=details, severity=severity, description="; ".join(outcome.summary for outcome in (failed or outcomes).values())[:500])


def declare(stage: Stage) -> dict[str, Any]:
    """The arguments of ``@dg.asset`` that the stage knows itself."""
    return {
        "name": stage.name,
        "deps": list(stage.inputs),
        "code_version": stage.code_version,
        "partitions_def": CRAWLS if stage.per_crawl else None,
        "owners": ["team:llm-assets"],
    }


def schema_check(stage: Stage) -> dg.AssetChecksDefinition:
    """The blocking check that every table of the asset obeys its pandera schema."""

    @dg.asset_check(asset=stage.name, name="schema", blocking=True, description=f"Every row of {', '.join(stage.tables)} obeys its pandera schema.")
    def schema(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
        return artifacts.check(context, stage, "schema", stage.code_version, lambda artifact, *_: ([], lambda: check_schemas(stage, artifact)))

    return schema


def metadata(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    """What the UI shows of an artifact: counts, bytes, where it lies, how it came to be, a preview."""
    record, artifact = outcome.artifact.record, outcome.artifact
    main = next(iter(stage.tables), None)
    shown: dict[str, Any] = {
        "cached": outcome.cached,
        "identity": record.short,
        "dagster/row_count": record.rows.get(main, 0) if main else 0,
        "bytes": record.total_bytes,
        "files": len(record.files),
        "folder": dg.MetadataValue.path(str(artifact.path)),
        "record": dg.MetadataValue.path(str(artifact.path / "artifact.json")),
        "seconds": dg.MetadataValue.float(round(outcome.seconds, 3)),
        "built": dg.MetadataValue.json(record.timings),
        "identity_fields": dg.MetadataValue.json(record.fields),
        "stats": dg.MetadataValue.json(record.stats),
        **{f"rows_{table}": rows for table, rows in record.rows.items()},
    }
    if outcome.drifted:
        shown["drifted"] = dg.MetadataValue.md("Code changed without a new code_version: " + ", ".join(outcome.drifted))
    if outcome.resumed_parts:
        shown["resumed_parts"] = outcome.resumed_parts
    if record.mlflow_run_id:
        shown["mlflow_run_id"] = record.mlflow_run_id
    if main and (files := artifact.table(main)):
        first = next((path for path in files if row_count(path)), files[0])
        shown["preview"] = dg.MetadataValue.md(markdown_table(pl.scan_parquet(first).head(PREVIEW_ROWS).collect()))
    return shown


def markdown_table(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table, personal data replaced and long values cut."""
    from llm_assets.curation.personal_data import scrub_for_display

    frame = scrub_for_display(frame)

    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        text = text if len(text) <= PREVIEW_CHARACTERS else f"{text[: PREVIEW_CHARACTERS - 1]}…"
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")

    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join(lines + ["| " + " | ".join(cell(value) for value in row) + " |" for row in frame.iter_rows()])


def _log_progress(log: Any) -> Callable[[Event], None]:
    last = 0.0

    def listen(event: Event) -> None:
        nonlocal last
        if event.kind != "progress" or time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic() if event.kind == "progress" else last
            log.info(event.text())

    return listen


def _pipes_launcher(context: dg.AssetExecutionContext) -> Callable[[list[str], Mapping[str, str]], int]:
    """Starts a training process through Dagster Pipes: what it logs stands in the run's log as it comes."""

    def launch(command: list[str], environment: Mapping[str, str]) -> int:
        try:
            dg.PipesSubprocessClient().run(context=context, command=command, env=dict(environment))
        except DagsterPipesExecutionError as error:
            return int(found.group(1)) if (found := re.search(r"with code (-?\d+)", str(error))) else 1
        return 0

    return launch


__all__ = ["CRAWLS", "Artifacts", "declare", "markdown_table", "metadata", "schema_check"]
