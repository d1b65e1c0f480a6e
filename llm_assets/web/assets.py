"""Dagster declarations of the web room."""

import dagster as dg
import polars as pl

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.checks import CheckOutcome
from resources.artifacts import Artifacts, declare, schema_check

from .blocklists import URL_BLOCKLISTS
from .raw_warc import RAW_WARC


@dg.asset(**declare(URL_BLOCKLISTS), group_name="web", kinds={"parquet"})
def url_blocklists(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Versioned lists of malware, adult, gambling and advertising hosts and of URL words, and the opt-out list."""
    return artifacts.materialize(context, URL_BLOCKLISTS)


@dg.asset(**declare(RAW_WARC), group_name="web", kinds={"warc", "parquet", "scrapy"})
def raw_warc(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """WARC files of one crawl (own crawl, Common Crawl, WARC files, or the sample web), and their capture index."""
    return artifacts.materialize(context, RAW_WARC)


@dg.asset_check(asset="url_blocklists", description="Every line of every list could be read.")
def readable_lines(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Malformed lines are a warning: the rest of the list is in force."""

    def examine(artifact: Artifact, workspace: Workspace, partition: str | None):  # type: ignore[no-untyped-def]
        def work() -> CheckOutcome:
            bad = pl.concat([pl.read_parquet(path) for path in artifact.table("malformed")])
            return CheckOutcome(bad.is_empty(), f"{len(bad)} malformed lines", bad.head(20).to_dicts())

        return [], work

    return artifacts.check(context, URL_BLOCKLISTS, "readable_lines", "1", examine, dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="raw_warc", blocking=True, description="The crawl holds captures, and not only corrupt ones.")
def has_captures(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """An empty crawl would make an empty corpus in silence."""

    def examine(artifact: Artifact, workspace: Workspace, partition: str | None):  # type: ignore[no-untyped-def]
        stats = artifact.record.stats
        whole = stats["captures"] - stats["corrupt"]
        return [], lambda: CheckOutcome(whole > 0, f"{whole:,} captures, {stats['corrupt']:,} corrupt stretches")

    return artifacts.check(context, RAW_WARC, "has_captures", "1", examine)


@dg.asset_check(asset="raw_warc", description="No record is corrupt, and each payload has the digest that its record declares.")
def intact(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Damage is a warning: it is counted and recorded, and the rest of the crawl goes on."""

    def examine(artifact: Artifact, workspace: Workspace, partition: str | None):  # type: ignore[no-untyped-def]
        stats = artifact.record.stats

        def work() -> CheckOutcome:
            corrupt = pl.concat([pl.scan_parquet(p).filter(pl.col("record_type") == "corrupt").select("warc_file", "warc_offset", "error").head(20).collect() for p in artifact.table("captures")])
            summary = f"{stats['corrupt']:,} corrupt stretches, {stats['digest_mismatches']:,} payloads unlike their digest"
            return CheckOutcome(stats["corrupt"] + stats["digest_mismatches"] == 0, summary, corrupt.head(20).to_dicts())

        return [], work

    return artifacts.check(context, RAW_WARC, "intact", "1", examine, dg.AssetCheckSeverity.WARN)


schemas = [schema_check(URL_BLOCKLISTS), schema_check(RAW_WARC)]
