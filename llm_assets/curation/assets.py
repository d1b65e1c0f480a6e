"""Dagster declarations of the curation room."""

import dagster as dg

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.checks import CheckOutcome
from resources.artifacts import Artifacts, declare, schema_check

from .extracted_text import EXTRACTED_TEXT
from .language import LANGUAGE_FILTERED_TEXT
from .ledger import KEPT, REJECT_LEDGER, imbalance
from .url_filter import FILTERED_URLS


@dg.asset(**declare(FILTERED_URLS), group_name="curation", kinds={"duckdb", "parquet"})
def filtered_urls(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The captures whose status, media type and URL pass the rules, the blocklists and the opt-out list."""
    return artifacts.materialize(context, FILTERED_URLS)


@dg.asset(**declare(EXTRACTED_TEXT), group_name="curation", kinds={"resiliparse", "parquet"})
def extracted_text(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Main text of each page, its title, and the encoding it was read in."""
    return artifacts.materialize(context, EXTRACTED_TEXT)


@dg.asset(**declare(LANGUAGE_FILTERED_TEXT), group_name="curation", kinds={"fasttext", "parquet"})
def language_filtered_text(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Pages whose whole text is in a target language with P ≥ 0.65 (fastText lid.176), with the top scores."""
    return artifacts.materialize(context, LANGUAGE_FILTERED_TEXT)


@dg.asset(**declare(REJECT_LEDGER), group_name="curation", kinds={"duckdb", "parquet"})
def reject_ledger(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Every page that did not make it: stage, rule, measured value, threshold."""
    return artifacts.materialize(context, REJECT_LEDGER)


@dg.asset_check(asset="reject_ledger", blocking=True, description="Kept + rejected = captures, capture by capture.")
def balance(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Every capture is kept or rejected exactly once."""

    def examine(artifact: Artifact, workspace: Workspace, partition: str | None):  # type: ignore[no-untyped-def]
        resolver = workspace.resolver()
        raw, kept = resolver.artifact("raw_warc", partition), resolver.artifact(KEPT[0], partition)

        def work() -> CheckOutcome:
            lost = imbalance(raw, kept, artifact)
            stats = artifact.record.stats
            equation = f"{stats['kept']:,} kept + {stats['rejected']:,} rejected = {stats['captures']:,} captures"
            even = stats["kept"] + stats["rejected"] == stats["captures"] and lost.is_empty()
            return CheckOutcome(even, equation if even else f"not so: {equation}; {len(lost)} captures lost or counted twice", lost.to_dicts())

        return [raw, kept], work

    return artifacts.check(context, REJECT_LEDGER, "balance", "1", examine)


schemas = [schema_check(FILTERED_URLS), schema_check(EXTRACTED_TEXT), schema_check(LANGUAGE_FILTERED_TEXT), schema_check(REJECT_LEDGER)]
