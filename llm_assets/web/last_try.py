"""Why the last attempt at a crawl failed.

The reason stays in the crawl's staging folder until an attempt succeeds; `crawls list` and `corpus why` report it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.tables import write_table
from llm_assets.sql import query, statement

from .errors import EmptyCrawl

LAST_TRY, LAST_FAILURES = "last_try.json", "last_failures.parquet"
REASONS_IN_ERROR = 4
DETAIL_CHARACTERS = 120


@dataclass(frozen=True)
class LastTry:
    """When the last attempt at a crawl failed (ISO 8601, UTC), and why."""

    at: str
    message: str


@dataclass(frozen=True)
class NotFetched:
    """A URL that a crawl found and did not store. at: when the whole crawl failed; None for a built crawl."""

    crawl: str
    url: str
    reason: str
    detail: str
    at: str | None


def remember_failure(staging: Path, error: Exception, failures: pl.DataFrame) -> None:
    """Record why an attempt failed. After an empty crawl, remove all else, so that the next attempt starts afresh."""
    if isinstance(error, EmptyCrawl):
        for path in staging.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    write_table(failures, staging / LAST_FAILURES)
    last = LastTry(datetime.now(UTC).isoformat(timespec="seconds"), str(error))
    write_atomic(staging / LAST_TRY, json.dumps(asdict(last)).encode())


def last_try(staging: Path) -> LastTry | None:
    """Why the last attempt failed; None if it did not fail, or was killed."""
    try:
        return LastTry(**json.loads((staging / LAST_TRY).read_text()))
    except FileNotFoundError:
        return None


def failed_try(workspace: Workspace, crawl: str) -> tuple[LastTry, Path] | None:
    """Why a crawl that is not built failed, and the file of the URLs that it did not store."""
    resolution = workspace.resolver().resolve("raw_warc", crawl)
    if resolution.artifact is not None or resolution.identity is None:
        return None
    staging = workspace.store.staging(resolution.identity)
    last = last_try(staging)
    return (last, staging / LAST_FAILURES) if last is not None else None


def why_empty(crawl: str, captures: list[Path], failures: pl.DataFrame) -> str | None:
    """Why a crawl stored no page, in one line; None if it stored one (robots.txt does not count)."""
    if captures and query(statement("pages_stored"), files=captures)["pages"][0]:
        return None
    by_reason = failures.group_by("reason").agg(pl.len(), pl.col("url").first(), pl.col("detail").first())
    causes = [
        (count, reason, f"{url}: {detail[:DETAIL_CHARACTERS]}")
        for reason, count, url, detail in by_reason.select("reason", "len", "url", "detail").iter_rows()
    ]
    if captures:
        answers = query(statement("answers_without_page"), files=captures)
        causes += [(count, f"status {status}", url) for status, count, url in answers.iter_rows()]
    if not causes:
        return f"crawl {crawl} stored no page, and found no URL"
    causes.sort(key=lambda cause: (-cause[0], cause[1]))
    listed = ", ".join(f"{count} × {reason} ({example})" for count, reason, example in causes[:REASONS_IN_ERROR])
    further = len(causes) - REASONS_IN_ERROR
    return f"crawl {crawl} stored no page: {listed}" + (f", and {further} further reasons" if further > 0 else "")


def not_fetched(workspace: Workspace, url: str, crawls: list[str]) -> list[NotFetched]:
    """The failures that crawls, built or failed, recorded for a URL.

    The URL may omit the scheme, "www." and a closing slash.
    """
    results: list[NotFetched] = []
    resolver = workspace.resolver()
    for crawl in crawls:
        artifact = resolver.resolve("raw_warc", crawl).artifact
        files: list[Path] = []
        failed_at = None
        if artifact is not None:
            files = artifact.table("crawl_failures")
        elif (failed := failed_try(workspace, crawl)) is not None:
            last, failures_file = failed
            files, failed_at = [failures_file], last.at
        if files:
            rows = query(statement("failures_of_url"), files=files, url=url)
            for found_url, reason, detail in rows.select("url", "reason", "detail").iter_rows():
                results.append(NotFetched(crawl, found_url, reason, detail, failed_at))
    return results
