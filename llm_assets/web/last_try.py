"""Why the last try of a crawl failed: kept in its staging folder until a try succeeds, for `crawls list` and `corpus why`."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.record import write_atomic
from llm_assets.sql import query, statement

from .errors import EmptyCrawl

LAST_TRY, LAST_FAILURES = "last_try.json", "last_failures.parquet"
EXAMPLES = 4  # reasons that an error tells of
DETAIL_CHARACTERS = 120


@dataclass(frozen=True)
class LastTry:
    """When the last try of a crawl failed (ISO 8601, UTC), and why."""

    at: str
    message: str


@dataclass(frozen=True)
class NotFetched:
    """A URL that a crawl met and did not store. at: when, where the whole crawl failed; None for a built crawl."""

    crawl: str
    url: str
    reason: str
    detail: str
    at: str | None


def remember_failure(staging: Path, error: Exception, failures: pl.DataFrame) -> None:
    """Keep why a try failed. After an empty crawl nothing else stays, so that the next try asks for everything anew."""
    if isinstance(error, EmptyCrawl):
        for path in staging.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    failures.write_parquet(staging / LAST_FAILURES)
    last = LastTry(datetime.now(UTC).isoformat(timespec="seconds"), str(error))
    write_atomic(staging / LAST_TRY, json.dumps(asdict(last)).encode())


def last_try(staging: Path) -> LastTry | None:
    """Why the last try failed; None where it did not fail, or was killed."""
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
    found = last_try(staging)
    return (found, staging / LAST_FAILURES) if found is not None else None


def why_empty(crawl: str, captures: list[Path], failures: pl.DataFrame) -> str | None:
    """Why a crawl's pages are none, in one line; None where it stored one (robots.txt is no page)."""
    files = [str(path) for path in captures]
    if files and query(statement("pages_stored"), files=files)["pages"][0]:
        return None
    reasons = failures.group_by("reason").agg(pl.len(), pl.col("url").first(), pl.col("detail").first())
    told = [
        (count, reason, f"{url}: {detail[:DETAIL_CHARACTERS]}")
        for reason, count, url, detail in reasons.select("reason", "len", "url", "detail").iter_rows()
    ]
    if files:
        answers = query(statement("answers_without_page"), files=files)
        told += [(count, f"status {status}", url) for status, count, url in answers.iter_rows()]
    told.sort(key=lambda one: (-one[0], one[1]))
    listed = ", ".join(f"{count} × {reason} ({example})" for count, reason, example in told[:EXAMPLES])
    more = f", and {len(told) - EXAMPLES} further reasons" if len(told) > EXAMPLES else ""
    return f"crawl {crawl} stored no page: {listed}{more}" if told else f"crawl {crawl} stored no page, and met no URL"


def not_fetched(workspace: Workspace, url: str, crawls: list[str]) -> list[NotFetched]:
    """What crawls, built or failed, say of a URL that they did not store. Scheme, "www." and a closing slash may be left out."""
    found: list[NotFetched] = []
    resolver = workspace.resolver()
    for crawl in crawls:
        artifact = resolver.resolve("raw_warc", crawl).artifact
        files, at = (artifact.table("crawl_failures"), None) if artifact is not None else ([], None)
        if artifact is None and (failed := failed_try(workspace, crawl)) is not None:
            files, at = [failed[1]], failed[0].at
        if files:
            rows = query(statement("failures_of_url"), files=[str(path) for path in files], url=url)
            found += [NotFetched(crawl, *row, at) for row in rows.select("url", "reason", "detail").iter_rows()]
    return found
