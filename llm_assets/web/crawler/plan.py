"""What a crawler process receives: the source, the spool's folder, what earlier crawls stored, and the opt-outs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table, write_table
from llm_assets.recipes import WebCrawl


class CrawlPlan(BaseModel):
    """The argument of a crawler process, as a JSON file.

    spool: folder. earlier: file of `write_earlier`, for a crawl that continues others.
    """

    model_config = ConfigDict(extra="forbid")
    crawl: str
    source: WebCrawl
    spool: str
    earlier: str | None = None
    opt_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class EarlierCapture:
    """The newest page of a URL in earlier crawls. warc, offset: file and place of its record."""

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
_EARLIER_SCHEMA = {
    "url": pl.String,
    "etag": pl.String,
    "last_modified": pl.String,
    "digest": pl.String,
    "fetched_at": pl.String,
    "warc": pl.String,
    "offset": pl.Int64,
}


def write_earlier(crawls: Sequence[Artifact], path: str) -> int:
    """Write the newest page of each URL in a chain of crawls (oldest first); returns the number of URLs.

    A revisit confirms the original; any other answer than a page (status 200) removes the URL.
    """
    newest: dict[str, dict[str, Any]] = {}
    for artifact in crawls:
        for file in artifact.table("captures"):
            for row in read_table(file, columns=_COLUMNS).iter_rows(named=True):
                if row["record_type"] != "response":
                    continue
                if row["status"] == 200:
                    newest[row["url"]] = {
                        "url": row["url"],
                        "etag": row["etag"],
                        "last_modified": row["last_modified"],
                        "digest": row["payload_digest"],
                        "fetched_at": row["fetched_at"],
                        "warc": str(artifact.file(f"warc/{row['warc_file']}")),
                        "offset": row["warc_offset"],
                    }
                else:
                    newest.pop(row["url"], None)
    write_table(pl.DataFrame(list(newest.values()), schema=_EARLIER_SCHEMA), path)
    return len(newest)


def read_earlier(path: str | None) -> dict[str, EarlierCapture]:
    """The captures that `write_earlier` wrote, by URL; none without a file."""
    if path is None:
        return {}
    return {row.pop("url"): EarlierCapture(**row) for row in read_table(path).to_dicts()}
