"""`deduplicated_text`: one page of each cluster of exact or near duplicates.

Signatures are matched first (`duplicate_matching`, `duplicate_clusters`); then each WARC file loses its duplicates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.sampling import most_unseen
from llm_assets.artifacts.stage import Key, Stage
from llm_assets.artifacts.step import TASKS, Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches, row_count, scan_table
from llm_assets.recipes import Deduplication, Recipe
from llm_assets.recipes.frozen import Frozen
from llm_assets.sql import write_sorted

from .duplicate_clusters import find_clusters
from .rejects import DOCUMENT, Tally
from .schemas import Cluster, QualityFilteredText, Rejects
from .signature_index import SignatureIndex
from .signatures import TEXT_SIGNATURES, Signatures, sign

CLUSTERS = "clusters"
DROPPED = ".dropped.parquet"  # scratch: the pages to drop, sorted by WARC file
DIGESTS = 1 << 24  # compared by the check at once; they take 8 bytes each, and as much again to sort them
_MAX_FAILURES = 20


_DROPPED_SCHEMA = pa.schema(
    [
        ("warc_file", pa.large_string()),
        ("warc_offset", pa.int64()),
        ("relation", pa.large_string()),
        ("shared_bands", pa.int64()),
        ("kept_url", pa.large_string()),
    ]
)


class Matching(Frozen):
    """The fields of Deduplication that matching reads. Its scope decides which signatures are inputs."""

    bands: int
    memory_bytes: Annotated[int, EXECUTION_ONLY]


def deduplication_task(staging: Path, name: str, texts: Path, dropped_pages: Path, bands: int) -> None:
    """Worker: drop the duplicates of one WARC file."""
    of_file = scan_table(dropped_pages).filter(pl.col("warc_file") == name)  # reads few row groups: they are sorted
    dropped = of_file.select("warc_offset", "relation", "shared_bands", "kept_url").collect()
    with Task(staging, name) as task:
        texts_table, rejects = task.table("text", QualityFilteredText), task.table("rejects", Rejects)
        tally = Tally()
        for frame in batches(texts):
            judged = frame.join(dropped, on="warc_offset", how="left", maintain_order="left")
            passed = judged.filter(pl.col("relation").is_null())
            failed = judged.filter(pl.col("relation").is_not_null())
            exact = pl.col("relation") == "exact"
            rule = pl.when(exact).then(pl.lit("exact_duplicate")).otherwise(pl.lit("near_duplicate"))
            failed = failed.with_columns(rule=rule)
            same_text = pl.format("same text as {}", "kept_url")
            equal = pl.lit("equal but for case and white space")
            same_bands = pl.format("{} of {} bands as {}", "shared_bands", pl.lit(bands), "kept_url")
            texts_table.frame(passed.drop("relation", "shared_bands", "kept_url"))
            rejects.frame(
                failed.select(
                    *DOCUMENT,
                    "rule",
                    stage=pl.lit("deduplicated_text"),
                    value=pl.when(exact).then(same_text).otherwise(same_bands),
                    threshold=pl.when(exact).then(equal).otherwise(pl.lit(f"1 of {bands} bands")),
                )
            )
            tally.add(passed, failed)
        task.stats.update(tally.stats())


def build_deduplicated_text(step: Step, config: Matching) -> None:
    """Match all signatures in one task; then one task per WARC file, over the engine's workers."""
    dropped_pages = step.staging / DROPPED
    if step.finished_task(CLUSTERS) is None or not dropped_pages.exists():
        _match_signatures(step, config)
    texts = step.task_files("quality_filtered_text", "text")
    tasks = {name: (path, dropped_pages, config.bands) for name, path in texts.items()}
    step.run_tasks(deduplication_task, tasks, "WARC files")


def _match_signatures(step: Step, config: Matching) -> None:
    """Write the table of clusters of this crawl and, with scope `corpus`, the earlier ones."""
    signatures = step.inputs.by_crawl(TEXT_SIGNATURES.name)
    new = signatures.pop(step.partition)
    earlier = [path for _, artifact in sorted(signatures.items()) for path in artifact.table("signatures")]
    raw = sorted(step.inputs.by_crawl("raw_warc").items(), key=lambda item: (item[0] == step.partition, item[0]))
    captures = [artifact.table("captures") for _, artifact in raw]
    index = SignatureIndex.of(earlier, new.table("signatures"), captures)
    texts = step.input("quality_filtered_text").table("text")
    scratch = step.staging / TASKS / "matching"
    counts = {"clusters": 0, "clustered": 0, "compared": index.pages}
    unsorted = step.staging / f"{DROPPED}.tmp"
    with step.task(CLUSTERS) as task, pq.ParquetWriter(unsorted, _DROPPED_SCHEMA) as dropped:
        clusters = find_clusters(index, config.bands, config.memory_bytes, scratch, texts)
        for frame in task.table("clusters", Cluster).frames(clusters):
            counts["clusters"] += int(frame["is_kept"].sum())
            counts["clustered"] += len(frame)
            dropped.write_table(_dropped_pages(frame, step.partition).to_arrow().cast(_DROPPED_SCHEMA))
        dropped.close()
        write_sorted(unsorted, ["warc_file", "warc_offset"], task.add_scratch(DROPPED))
        unsorted.unlink()
        task.stats.update(counts)


def _dropped_pages(clusters: pl.DataFrame, crawl: str) -> pl.DataFrame:
    """Pages of a crawl to drop: their place, relation to the kept page, shared bands, the kept page's URL."""
    return clusters.filter((pl.col("crawl") == crawl) & ~pl.col("is_kept")).select(_DROPPED_SCHEMA.names)


def _earlier_inputs(recipe: Recipe, crawl: str | None) -> list[Key]:
    """With scope `corpus`: signatures of the earlier crawls, and the captures of these and this one."""
    if recipe.deduplication.scope == "crawl":
        return []
    earlier = [name for name in recipe.corpus() if crawl is not None and name < crawl]
    captures = [("raw_warc", name) for name in [*earlier, crawl]] if earlier else []
    return [*((TEXT_SIGNATURES.name, name) for name in earlier), *captures]


class DuplicateBounds(Frozen):
    """Greatest share of pages that deduplication may remove."""

    max_share: float


def duplicates_within(deduplicated: Artifact, inputs: Inputs, config: DuplicateBounds) -> CheckOutcome:
    """Check that no two kept pages share a text (but for case and white space), and the share of removed pages."""
    stats = deduplicated.record.stats
    kept_pages = sum(row_count(path) for path in deduplicated.table("text"))
    compared = min(1.0, DIGESTS / max(kept_pages, 1))
    repeated_urls = _urls_with_repeated_text(deduplicated, compared)
    share = stats["rejected"] / stats["pages"] if stats["pages"] else 0.0
    summary = (
        f"{share:.2%} of {stats['pages']:,} pages were duplicates (at most {config.max_share:.0%}); "
        f"{len(repeated_urls)} of the kept pages share a text"
    )
    if compared < 1:
        # Equal texts have one digest: they are all compared, or none of them is.
        summary += f"; {compared:.2%} of the texts were compared"
        unseen = f": at most {most_unseen(compared):,} texts are on several pages (95 %)"
        summary += ", so as many of the repeated texts are found" if repeated_urls else unseen
    numbers = {"share": share, "kept_twice": len(repeated_urls)}
    passed = not repeated_urls and share <= config.max_share
    return CheckOutcome(passed, summary, [{"url": url} for url in repeated_urls[:_MAX_FAILURES]], numbers)


def _urls_with_repeated_text(deduplicated: Artifact, share: float) -> list[str]:
    """URLs of pages whose text another page has too, but for case and white space.

    share: of the texts that are compared, those with the lowest digests.
    """
    digests_only = Signatures.of(Deduplication(near_duplicates=False))
    limit = np.uint64(min(int(share * 2**64), 2**64 - 1))

    def compared(texts: pl.Series) -> np.ndarray:
        digests = sign(texts, digests_only)[0]
        return digests if share == 1 else digests[digests < limit]

    # Digests alone first (8 bytes per page), then the URLs of just the pages that share one.
    digests = [compared(frame["text"]) for path in deduplicated.table("text") for frame in batches(path, ["text"])]
    values, counts = np.unique(np.concatenate(digests) if digests else np.zeros(0, np.uint64), return_counts=True)
    shared = values[counts > 1]
    urls: list[str] = []
    if len(shared):
        for path in deduplicated.table("text"):
            for frame in batches(path, ["url", "text"]):
                is_shared = pl.Series(np.isin(sign(frame["text"], digests_only)[0], shared))
                urls += frame["url"].filter(is_shared).to_list()
    return urls


DUPLICATE_SHARE = Check(
    "duplicate_share",
    "No two kept pages share a text, and no more pages were removed than the recipe allows.",
    duplicates_within,
    blocking=True,
    config=lambda recipe, _: DuplicateBounds(max_share=recipe.report.max_duplicate_share),
)

DEDUPLICATED_TEXT = Stage(
    name="deduplicated_text",
    group="curation",
    description="One page of each cluster of exact or near duplicates, and the clusters.",
    kinds=("numba", "parquet"),
    build=build_deduplicated_text,
    code_version="4",
    config=lambda recipe, _: Matching(bands=recipe.deduplication.bands, memory_bytes=recipe.deduplication.memory_bytes),
    per_crawl=True,
    inputs=("quality_filtered_text", TEXT_SIGNATURES.name),
    earlier_artifacts=_earlier_inputs,
    tables={"text": QualityFilteredText, "rejects": Rejects, "clusters": Cluster},
    main_table="text",
    checks=(DUPLICATE_SHARE,),
    libraries=("duckdb", "numba", "polars"),
)
