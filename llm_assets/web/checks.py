"""Checks of the artifacts of the web package."""

from __future__ import annotations

from typing import Any

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table, scan_table

SHOWN_ROWS = 20


def readable_lines(artifact: Artifact, inputs: Inputs, config: Any) -> CheckOutcome:
    """Malformed lines are a warning, because the rest of the list is applied."""
    malformed = read_table(artifact.table("malformed"))
    summary, numbers = f"{len(malformed)} malformed lines", {"malformed_lines": len(malformed)}
    return CheckOutcome(malformed.is_empty(), summary, malformed.head(SHOWN_ROWS).to_dicts(), numbers)


def has_captures(artifact: Artifact, inputs: Inputs, config: Any) -> CheckOutcome:
    """An empty crawl would silently give an empty corpus."""
    stats = artifact.record.stats
    failures = stats.get("crawl_failures", {})
    numbers = {"captures": stats["captures"], "corrupt": stats["corrupt"], "not_fetched": sum(failures.values())}
    summary = f"{stats['captures']:,} captures, {stats['corrupt']:,} corrupt stretches"
    if failures:
        counts = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
        summary += "; not fetched: " + ", ".join(f"{count:,} {reason}" for reason, count in counts)
    return CheckOutcome(stats["captures"] > stats["corrupt"], summary, numbers=numbers)


def intact(artifact: Artifact, inputs: Inputs, config: Any) -> CheckOutcome:
    """Damage is a warning, because it is recorded and the rest of the crawl is used."""
    stats = artifact.record.stats
    numbers = {"corrupt": stats["corrupt"], "digest_mismatches": stats["digest_mismatches"]}
    captures = scan_table(artifact.table("captures"))
    corrupt = (
        captures.filter(pl.col("record_type") == "corrupt").select("warc_file", "warc_offset", "error").head(SHOWN_ROWS)
    )
    mismatches = stats["digest_mismatches"]
    summary = f"{stats['corrupt']:,} corrupt stretches, {mismatches:,} payloads that do not match their digest"
    return CheckOutcome(not any(numbers.values()), summary, corrupt.collect().to_dicts(), numbers)


READABLE_LINES = Check("readable_lines", "Every line of every list can be read.", readable_lines)
HAS_CAPTURES = Check(
    "has_captures",
    "The crawl has captures, and not only corrupt ones.",
    has_captures,
    blocking=True,
    code_version="2",
)
INTACT = Check("intact", "No record is corrupt, and each payload has the digest that its record declares.", intact)
