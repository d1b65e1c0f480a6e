"""Where crawls come from."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, field_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .frozen import Frozen


class SampleWeb(Frozen):
    """The embedded fictional web, crawled over HTTP on loopback. It comes with its ground truth."""

    kind: Literal["sample_web"] = "sample_web"
    day: int = Field(
        1, ge=1, le=2, description="state of the web: day 2 is a week later: pages changed, appeared, vanished"
    )
    seed: int = Field(1, ge=0, description="seed of the generator; another seed is another web")
    scale: float = Field(1.0, gt=0, le=20, description="multiplies the number of pages; 1.0 gives at least 1,500")
    since: str | None = Field(None, description="name of an earlier crawl: ask only for what changed since")


class WebCrawl(Frozen):
    """An own crawl from seed URLs."""

    kind: Literal["crawl"] = "crawl"
    seeds: tuple[str, ...] = Field(min_length=1, description="http(s) URLs to start from")
    scope: Literal["host", "domain", "prefix", "any"] = Field(
        "host",
        description="which links to follow: same host as a seed, same registered domain, below a seed's folder, or all",
    )
    max_pages: int = Field(10_000, ge=1, description="responses to store, over all hosts")
    max_pages_per_host: int = Field(5_000, ge=1, description="responses to store of one host")
    max_depth: int = Field(10, ge=0, description="links away from a seed")
    max_bytes: int = Field(
        8 << 20, ge=1 << 10, description="bytes of one response; larger ones are logged and left out"
    )
    delay: Annotated[float, EXECUTION_ONLY] = Field(
        1.0, ge=0, description="seconds between two requests to one host (robots.txt may ask for more)"
    )
    concurrency: Annotated[int, EXECUTION_ONLY] = Field(
        16, ge=1, le=512, description="requests in flight, over all hosts"
    )
    concurrency_per_host: Annotated[int, EXECUTION_ONLY] = Field(
        1, ge=1, le=64, description="requests in flight to one host"
    )
    timeout: Annotated[float, EXECUTION_ONLY] = Field(60.0, gt=0, description="seconds for one request")
    retries: Annotated[int, EXECUTION_ONLY] = Field(
        3, ge=0, le=20, description="further tries after a connection error or 429, 5xx"
    )
    obey_robots: bool = Field(True, description="follow robots.txt (RFC 9309)")
    user_agent: str = Field("llm-assets/0.1 (+research crawler; respects robots.txt)", min_length=1)
    proxy: Annotated[str | None, EXECUTION_ONLY] = Field(None, description="HTTP proxy that all requests go through")
    allow_private: bool = Field(False, description="allow loopback, private and link-local addresses")
    since: str | None = Field(
        None, description="name of an earlier crawl: send conditional requests; 304 becomes a revisit record"
    )
    clock: datetime | None = Field(None, description="fixed WARC-Date for every record; None is the time of the fetch")

    @field_validator("seeds")
    @classmethod
    def _http(cls, seeds: tuple[str, ...]) -> tuple[str, ...]:
        for seed in seeds:
            if not re.match(r"https?://[^/\s]+", seed):
                raise ValueError(f"seed {seed!r} is not an http(s) URL")
        return seeds


class CommonCrawl(Frozen):
    """WARC files of a Common Crawl snapshot."""

    kind: Literal["common_crawl"] = "common_crawl"
    snapshot: str = Field(
        pattern=r"^CC-MAIN-\d{4}-\d{2}$|^[A-Za-z0-9._-]+$", description="snapshot id, such as CC-MAIN-2026-43"
    )
    files: int | None = Field(
        1, ge=1, description="take this many WARC files from the start of warc.paths.gz; None with `paths` set"
    )
    paths: tuple[str, ...] = Field(
        (), description="or exactly these entries of warc.paths.gz (or their positions, as digits)"
    )
    base_url: Annotated[str, EXECUTION_ONLY] = Field(
        "https://data.commoncrawl.org/", description="where crawl-data/ lies"
    )
    retries: Annotated[int, EXECUTION_ONLY] = Field(
        8, ge=0, le=100, description="further tries of one download, with exponential backoff"
    )
    backoff: Annotated[float, EXECUTION_ONLY] = Field(
        1.0, ge=0, description="seconds before the first retry; doubles up to 60"
    )

    @field_validator("snapshot")
    @classmethod
    def _plain(cls, snapshot: str) -> str:
        if ".." in snapshot:
            raise ValueError(f"snapshot {snapshot!r} is not a snapshot id")
        return snapshot


class WarcFiles(Frozen):
    """Anyone's WARC (or ARC) files."""

    kind: Literal["warc_files"] = "warc_files"
    path: Annotated[str, EXECUTION_ONLY] = Field(
        min_length=1, description="a folder, a file, a glob, or an http(s) URL of one file"
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="expected digest of a file behind a URL")
    copy_files: Annotated[bool, EXECUTION_ONLY] = Field(
        False, description="copy the files into the store; otherwise they are referenced where they lie"
    )


Source = Annotated[SampleWeb | WebCrawl | CommonCrawl | WarcFiles, Field(discriminator="kind")]
_SOURCE: TypeAdapter[Any] = TypeAdapter(Source)


def parse_source(data: dict[str, Any]) -> SampleWeb | WebCrawl | CommonCrawl | WarcFiles:
    """A source from plain values. Raises pydantic's ValidationError, which names the field."""
    return _SOURCE.validate_python(data)
