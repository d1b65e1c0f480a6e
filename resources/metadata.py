"""What Dagster's page of an asset shows of an artifact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from llm_assets.artifacts import Artifact, Outcome, Stage
from llm_assets.artifacts.checks import CheckResult
from llm_assets.artifacts.explain import Explanation, state_of_asset
from llm_assets.artifacts.tables import polars_schema, row_count
from llm_assets.artifacts.views import PREVIEW, cached_beside, drawing_version, shown
from llm_assets.curation.personal_data import scrub_for_display

PREVIEW_ROWS = 10
PREVIEW_CHARACTERS = 80


def asset_metadata(stage: Stage) -> dict[str, Any]:
    """What is known of an asset before it is built: the columns of its main table."""
    if stage.main_table is None:
        return {}
    model = {**stage.tables, **stage.optional_tables}[stage.main_table]
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in polars_schema(model).items()]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def materialisation_metadata(stage: Stage, outcome: Outcome, link: Callable[[str], str | None]) -> dict[str, Any]:
    """Counts, bytes, where the artifact lies, how it came to be, links to its pages, and a preview of its rows."""
    artifact, record = outcome.artifact, outcome.artifact.record
    metadata: dict[str, Any] = {
        "cached": outcome.cached,
        "identity": record.short_id,
        "dagster/uri": str(artifact.path),
        "bytes": record.total_bytes,
        "files": len(record.files),
        "folder": dg.MetadataValue.path(artifact.path),
        "record": dg.MetadataValue.path(artifact.path / "artifact.json"),
        "seconds": round(outcome.seconds, 3),
        "build_seconds": float(record.timings.get("seconds", 0.0)),
        "build_cpu_seconds": float(record.timings.get("cpu_seconds", 0.0)),
        "identity_fields": dg.MetadataValue.json(record.fields),
        "stats": dg.MetadataValue.json(record.stats),
        **{f"rows_{table}": rows for table, rows in record.rows.items()},
    }
    # A step's own number may be called as one of these: the page then shows it in `stats` alone.
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
    metadata.update(own_metadata(stage, artifact))
    return metadata


def preview(artifact: Artifact, table: str) -> str:
    """The first rows of a table in Markdown, kept beside the artifact (looking for personal data takes its time)."""

    def make() -> str:
        files = artifact.table(table)
        if not files:
            return ""
        first = next((path for path in files if row_count(path)), files[0])
        return markdown_table(pl.scan_parquet(first).head(PREVIEW_ROWS).collect())

    version = f"{drawing_version(markdown_table)}-{drawing_version(scrub_for_display)}"
    return str(cached_beside(artifact, PREVIEW, version, make))


def own_metadata(stage: Stage, artifact: Artifact) -> dict[str, Any]:
    """What the stage itself shows: Markdown for texts, numbers as numbers."""
    values = shown(stage, artifact)
    return {name: dg.MetadataValue.md(value) if isinstance(value, str) else value for name, value in values.items()}


def check_result(examined: dict[str, CheckResult]) -> dg.AssetCheckResult:
    """One check's outcomes, by artifact: a number of each that can be plotted, the failing rows, what drifted."""
    check = next(iter(examined.values())).check
    failed = {key: one.outcome for key, one in examined.items() if not one.outcome.passed}
    metadata: dict[str, Any] = {}
    for key, one in examined.items():
        metadata["summary" if len(examined) == 1 else f"summary of {key}"] = one.outcome.summary
        for name, value in one.outcome.numbers.items():
            metadata[name if len(examined) == 1 else f"{name} of {key}"] = value
    rows = [row for outcome in failed.values() for row in outcome.failures]
    if rows:
        metadata["failing_rows"] = dg.MetadataValue.md(markdown_table(pl.DataFrame(rows, infer_schema_length=None)))
    drifted = sorted({module for one in examined.values() for module in one.drifted})
    if drifted:
        metadata["drifted"] = dg.MetadataValue.md("Code changed since this was found: " + ", ".join(drifted))
    summaries = [
        outcome.summary for outcome in (failed or {key: one.outcome for key, one in examined.items()}).values()
    ]
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=check.name,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description="; ".join(summaries)[:500],
    )


def crawls_built(name: str, outcome: Outcome) -> dg.AssetCheckResult:
    """Which crawls an artifact was made from; a warning where the recipe has some that are not built."""
    read, unbuilt = outcome.crawls, outcome.unbuilt_crawls
    return dg.AssetCheckResult(
        passed=not unbuilt,
        check_name=name,
        metadata={"crawls": len(read), "unbuilt_crawls": len(unbuilt)},
        severity=dg.AssetCheckSeverity.WARN,
        description=crawls_summary(read, unbuilt),
    )


def crawls_summary(read: list[str], unbuilt: list[str]) -> str:
    """Which crawls an artifact was made from, and which it would have been made from."""
    return (f"made from {', '.join(read)}" + (f"; not built: {', '.join(unbuilt)}" if unbuilt else ""))[:500]


def state_result(explanations: list[Explanation], recipe: str) -> dict[str, Any]:
    """What `explain` says of an asset, as the fields of a check's result."""
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
    """A text as it can stand in a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def markdown_table(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table, personal data replaced and long values cut."""
    frame = scrub_for_display(frame)

    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        text = text if len(text) <= PREVIEW_CHARACTERS else f"{text[: PREVIEW_CHARACTERS - 1]}…"
        return _cell(text)

    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join(lines + ["| " + " | ".join(cell(value) for value in row) + " |" for row in frame.iter_rows()])
