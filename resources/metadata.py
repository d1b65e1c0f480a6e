"""Metadata for Dagster's page of an asset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from llm_assets.artifacts import Artifact, Outcome, Stage
from llm_assets.artifacts.checks import CheckResult
from llm_assets.artifacts.explain import Explanation, state_of_asset
from llm_assets.artifacts.tables import polars_schema, row_count, scan_table
from llm_assets.artifacts.views import PREVIEW, cached_beside, drawing_version, stage_metadata
from llm_assets.curation.personal_data import scrub_for_display

PREVIEW_ROWS = 10
PREVIEW_CHARACTERS = 80


def asset_metadata(stage: Stage) -> dict[str, Any]:
    """Metadata of an asset before it is built: the columns of its main table."""
    if stage.main_table is None:
        return {}
    model = {**stage.tables, **stage.optional_tables}[stage.main_table]
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in polars_schema(model).items()]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def materialisation_metadata(stage: Stage, outcome: Outcome, link: Callable[[str], str | None]) -> dict[str, Any]:
    """Metadata of a materialisation: counts, sizes, paths, the build, links to views, and a preview of the rows.

    link: gives the URL of an MLflow run, or None.
    """
    artifact, record = outcome.artifact, outcome.artifact.record
    metadata: dict[str, Any] = {
        "cached": outcome.cached,
        "identity": record.short_id,
        "dagster/uri": artifact.location,
        "bytes": record.total_bytes,
        "files": len(record.files),
        "folder": dg.MetadataValue.path(artifact.folder),
        "record": dg.MetadataValue.path(artifact.folder / "artifact.json"),
        "seconds": round(outcome.seconds, 3),
        "build_seconds": float(record.timings.get("seconds", 0.0)),
        "build_cpu_seconds": float(record.timings.get("cpu_seconds", 0.0)),
        "identity_fields": dg.MetadataValue.json(record.fields),
        "stats": dg.MetadataValue.json(record.stats),
        **{f"rows_{table}": rows for table, rows in record.rows.items()},
    }
    # A number of the step may have the name of one of these. The page then shows it only in `stats`.
    numbers = {name: value for name, value in record.stats.items() if type(value) in (int, float)}
    metadata = {**metadata, **{name: value for name, value in numbers.items() if name not in metadata}}
    if stage.main_table is not None:
        rows = record.rows.get(stage.main_table, 0)
        metadata["dagster/partition_row_count" if stage.per_crawl else "dagster/row_count"] = rows
        metadata["preview"] = dg.MetadataValue.md(preview(artifact, stage.main_table))
    if not stage.per_crawl and (outcome.crawls or outcome.unbuilt_crawls):
        metadata["crawls"] = dg.MetadataValue.json(outcome.crawls)
        metadata["unbuilt_crawls"] = dg.MetadataValue.json(outcome.unbuilt_crawls)
    if outcome.drifted:
        metadata["drifted"] = dg.MetadataValue.md(
            "Code changed without a new code_version: " + ", ".join(outcome.drifted)
        )
    if outcome.resumed_tasks:
        metadata["resumed_tasks"] = outcome.resumed_tasks
    metadata.update(
        {
            Path(view.file).stem.replace("-", "_"): dg.MetadataValue.path(artifact.view(view.file))
            for view in stage.views
        }
    )
    if record.mlflow_run_id:
        address = link(record.mlflow_run_id)
        metadata["mlflow_run"] = dg.MetadataValue.url(address) if address else record.mlflow_run_id
    metadata.update(stage_metadata_values(stage, artifact))
    return metadata


def preview(artifact: Artifact, table: str) -> str:
    """The first rows of a table in Markdown, cached beside the artifact because scrubbing personal data takes time."""

    def make() -> str:
        files = artifact.table(table)
        if not files:
            return ""
        first = next((path for path in files if row_count(path)), files[0])
        return markdown_table(scan_table(first).head(PREVIEW_ROWS).collect())

    version = f"{drawing_version(markdown_table)}-{drawing_version(scrub_for_display)}"
    return str(cached_beside(artifact, PREVIEW, version, make))


def stage_metadata_values(stage: Stage, artifact: Artifact) -> dict[str, Any]:
    """The stage's own metadata: texts as Markdown, numbers as numbers."""
    values = stage_metadata(stage, artifact)
    return {name: dg.MetadataValue.md(value) if isinstance(value, str) else value for name, value in values.items()}


def check_result(results: dict[str, CheckResult]) -> dg.AssetCheckResult:
    """Merge a check's results, by artifact key: summaries, numbers to plot, failing rows, and drifted modules."""
    check = next(iter(results.values())).check
    outcomes = {key: result.outcome for key, result in results.items()}
    failed = {key: outcome for key, outcome in outcomes.items() if not outcome.passed}
    metadata: dict[str, Any] = {}
    for key, outcome in outcomes.items():
        suffix = "" if len(outcomes) == 1 else f" of {key}"
        metadata[f"summary{suffix}"] = outcome.summary
        for name, value in outcome.numbers.items():
            metadata[f"{name}{suffix}"] = value
    rows = [row for outcome in failed.values() for row in outcome.failures]
    if rows:
        metadata["failing_rows"] = dg.MetadataValue.md(markdown_table(pl.DataFrame(rows, infer_schema_length=None)))
    drifted = sorted({module for result in results.values() for module in result.drifted})
    if drifted:
        metadata["drifted"] = dg.MetadataValue.md("Code changed since the check ran: " + ", ".join(drifted))
    summaries = [outcome.summary for outcome in (failed or outcomes).values()]
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=check.name,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description="; ".join(summaries)[:500],
    )


def crawls_built(name: str, outcome: Outcome) -> dg.AssetCheckResult:
    """Which crawls an artifact was built from. It is a warning if the recipe has crawls that are not built."""
    read, unbuilt = outcome.crawls, outcome.unbuilt_crawls
    return dg.AssetCheckResult(
        passed=not unbuilt,
        check_name=name,
        metadata={"crawls": len(read), "unbuilt_crawls": len(unbuilt)},
        severity=dg.AssetCheckSeverity.WARN,
        description=crawls_summary(read, unbuilt),
    )


def crawls_summary(read: list[str], unbuilt: list[str]) -> str:
    """Which crawls an artifact was built from, and which crawls it lacks because they are not built."""
    missing = f"; not built: {', '.join(unbuilt)}" if unbuilt else ""
    return f"made from {', '.join(read) or 'no crawl'}{missing}"[:500]


def state_result(explanations: list[Explanation], recipe: str) -> dict[str, Any]:
    """An asset's explanations as the fields of a check result."""
    state = state_of_asset(explanations)
    metadata: dict[str, Any] = {"recipe": recipe, **state.numbers}
    if state.failures:
        rows = [f"| {row['artifact']} | {_cell(row['state'])} |" for row in state.failures]
        metadata["artifacts"] = dg.MetadataValue.md("\n".join(["| artifact | state |", "| --- | --- |", *rows]))
    return {
        "passed": state.passed,
        "metadata": metadata,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": f"recipe {recipe}: {state.summary}"[:500],
    }


def _cell(text: str) -> str:
    """A text escaped for a cell of a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def markdown_table(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table, with personal data replaced and long values cut."""
    frame = scrub_for_display(frame)

    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        text = text if len(text) <= PREVIEW_CHARACTERS else f"{text[: PREVIEW_CHARACTERS - 1]}…"
        return _cell(text)

    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join(lines + ["| " + " | ".join(cell(value) for value in row) + " |" for row in frame.iter_rows()])
