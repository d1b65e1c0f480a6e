"""What a crawler process is told: the source's settings, where to write, what an earlier crawl knows, what opted out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import WebCrawl


class CrawlPlan(BaseModel):
    """The one argument of a crawler process, as JSON."""

    model_config = ConfigDict(extra="forbid")
    crawl: str
    source: WebCrawl
    spool: str
    earlier: str | None = None
    opt_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What an earlier crawl stored of a URL."""

    etag: str | None
    last_modified: str | None
    digest: str
    fetched_at: str
    warc: str
    offset: int


_COLUMNS = [
    "url",
    "record_type",
    "status",
    "etag",
    "last_modified",
    "payload_digest",
    "fetched_at",
    "warc_file",
    "warc_offset",
]


def write_earlier(chain: list[Artifact], path: str) -> int:
    """Write what is known of each URL after a chain of crawls (oldest first); returns how many URLs.

    A revisit leaves what its original said; any later answer that is no page forgets it.
    """
    known: dict[str, dict[str, Any]] = {}
    for artifact in chain:
        for file in artifact.table("captures"):
            for row in pl.read_parquet(file, columns=_COLUMNS).iter_rows(named=True):
                if row["record_type"] != "response":
                    continue
                if row["status"] == 200:
                    known[row["url"]] = {
                        "url": row["url"],
                        "etag": row["etag"],
                        "last_modified": row["last_modified"],
                        "digest": row["payload_digest"],
                        "fetched_at": row["fetched_at"],
                        "warc": str(artifact.file(f"warc/{row['warc_file']}")),
                        "offset": row["warc_offset"],
                    }
                else:
                    known.pop(row["url"], None)
    schema = {
        "url": pl.String,
        "etag": pl.String,
        "last_modified": pl.String,
        "digest": pl.String,
        "fetched_at": pl.String,
        "warc": pl.String,
        "offset": pl.Int64,
    }
    pl.DataFrame(list(known.values()), schema=schema).write_parquet(path)
    return len(known)


def read_earlier(path: str | None) -> dict[str, Known]:
    if path is None:
        return {}
    return {row.pop("url"): Known(**row) for row in pl.read_parquet(path).to_dicts()}
