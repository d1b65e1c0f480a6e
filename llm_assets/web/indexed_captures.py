"""A crawl from Common Crawl's index: searches the index, then fetches the records that it names."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import read_table, scan_table
from llm_assets.compute import LocalEngine
from llm_assets.recipes import CommonCrawlIndex

from .capture_index import index_warc
from .download import RetryPolicy
from .errors import EmptyCrawl
from .index_lookup import find_captures
from .last_try import why_empty
from .record_ranges import RecordFetch, RejectedRecord, RemoteRecord
from .schemas import CrawlFailures, LocatedCaptures
from .urls import host_of

LOCATED = "located_captures"
WARC_BYTES = 64 << 20  # of a fetched file, about 6,000 pages: each is a task, which progress counts
MAX_RECORD_BYTES = 64 << 20  # Common Crawl cuts pages at 5 MiB; a larger record is an error of the index


def build_from_index(step: Step, source: CommonCrawlIndex) -> None:
    """Find the captures that the source selects, and fetch their records into WARC files with a capture index.

    Raises EmptyCrawl if the index names no capture, or no page could be stored.
    """
    if step.finished_task(LOCATED) is None:
        _locate(step, source)
    located = read_table(step.staging / LOCATED / f"{LOCATED}.parquet", ["warc_file", "source_length"])
    sizes = dict(located.group_by("warc_file").agg(pl.col("source_length").sum()).iter_rows())
    tasks = {name: (step.partition, source) for name in sorted(sizes)}
    # In this process, file by file: the number of connections to the server is the source's, whatever the engine has.
    step.run_tasks(fetch_records_task, tasks, "WARC files", sizes, engine=LocalEngine(1))
    reason = why_empty(step.partition, step.table("captures"), read_table(step.table("crawl_failures")))
    if reason is not None:
        raise EmptyCrawl(f"{reason}; the next run tries again")


def _locate(step: Step, source: CommonCrawlIndex) -> None:
    """Write the table of the captures to fetch, in the order of the archive's files."""

    def report(done: int, total: int, captures: int) -> None:
        step.progress.report(
            "progress", done=done, total=total, unit="files of the index", message=f"{captures:,} captures found"
        )

    captures = find_captures(source, step.staging / ".index", report)
    if captures.is_empty():
        raise EmptyCrawl(f"crawl {step.partition}: the index of {source.snapshot} has no capture that matches")
    has_place = (
        (pl.col("url").str.len_bytes() > 0)
        & pl.col("source_file").str.contains(r"^[^/].*\.warc\.gz$")
        & ~pl.col("source_file").str.contains("..", literal=True)
        & (pl.col("source_offset") >= 0)
        & pl.col("source_length").is_between(1, MAX_RECORD_BYTES)
    ).fill_null(False)
    located = captures.filter(has_place).sort("source_file", "source_offset")
    number = (pl.col("source_length").cum_sum() - pl.col("source_length")) // WARC_BYTES
    name = pl.format(f"{source.snapshot}-{{}}.warc.gz", number.cast(pl.String).str.zfill(5))
    with step.task(LOCATED) as task:
        task.table(LOCATED, LocatedCaptures).frame(located.with_columns(warc_file=name))
        unplaced = captures.filter(~has_place).with_columns(pl.col("url").fill_null("")).sort("url")
        table = task.table("crawl_failures", CrawlFailures)
        for row in unplaced.iter_rows(named=True):
            place = f"file {row['source_file']}, offset {row['source_offset']}, length {row['source_length']}"
            detail = f"the index names no record of a WARC file: {place}"
            table.append({"url": row["url"], "host": host_of(row["url"]), "reason": "damaged", "detail": detail})
        task.stats["crawl_failures"] = {"damaged": len(unplaced)} if len(unplaced) else {}


def fetch_records_task(staging: Path, name: str, crawl: str, source: CommonCrawlIndex) -> None:
    """Worker: fetch the records of one WARC file into the artifact, and index them."""
    located = scan_table(staging / LOCATED / f"{LOCATED}.parquet").filter(pl.col("warc_file") == name)
    columns = ("source_file", "source_offset", "source_length", "url", "payload_digest")
    records = [
        RemoteRecord(*place, digest=digest or "") for *place, digest in located.select(columns).collect().iter_rows()
    ]
    policy = RetryPolicy(source.retries, source.backoff)
    path = staging / "warc" / name
    fetch = RecordFetch(source.base_url, policy, source.connections, path, staging / ".records" / f"{name}.jsonl")
    with Task(staging, name) as task:
        rejected = fetch.run(records)
        index_warc(path, name, crawl, task)
        _write_failures(rejected, task)
        task.add_file(f"warc/{name}")


def _write_failures(rejected: list[RejectedRecord], task: Task) -> None:
    table = task.table("crawl_failures", CrawlFailures)
    counts: dict[str, int] = {}
    for failure in sorted(rejected, key=lambda failure: (failure.record.url, failure.reason, failure.detail)):
        url = failure.record.url
        table.append({"url": url, "host": host_of(url), "reason": failure.reason, "detail": failure.detail})
        counts[failure.reason] = counts.get(failure.reason, 0) + 1
    task.stats["crawl_failures"] = counts
