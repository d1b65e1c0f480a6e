"""The sources of a crawl: the sample web, a crawl from seeds, Common Crawl, WARC files, and files of texts."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, TypeAdapter, field_validator, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.host_names import normal_host

from .frozen import Frozen
from .language_tags import alpha3_of

_SNAPSHOT = r"^CC-MAIN-\d{4}-\d{2}$|^[A-Za-z0-9._-]+$"
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")  # lengths of RFC 1035, section 2.3.4


class SampleWeb(Frozen):
    """The embedded fictional web, served and crawled over HTTP on loopback. Its ground truth is known."""

    kind: Literal["sample_web"] = Field("sample_web", description="names this kind of source in JSON")
    day: int = Field(
        1,
        ge=1,
        le=2,
        description="state of the web; day 2 is a week later, when pages have changed, appeared and vanished",
    )
    world: int = Field(
        1,
        ge=0,
        description="which world the web is about: another number gives other people, towns, companies and works with "
        "other facts, and other pages. Recipes are tuned on worlds 1 to 5",
    )
    scale: float = Field(1.0, gt=0, le=20, description="multiplies the number of pages; 1.0 gives at least 1,500")
    since: str | None = Field(None, description="name of an earlier crawl; only what has changed since is fetched")


class WebCrawl(Frozen):
    """A crawl from seed URLs, by the built-in crawler."""

    kind: Literal["crawl"] = Field("crawl", description="names this kind of source in JSON")
    seeds: tuple[str, ...] = Field(min_length=1, description="http(s) URLs to start from")
    scope: Literal["host", "domain", "prefix", "any"] = Field(
        "host",
        description="links to follow: on a seed's host, on its registered domain, below its folder, or any",
    )
    seed_redirects: Literal["none", "www", "domain", "any"] = Field(
        "www",
        description="redirects of a seed to follow beyond the scope, which then includes where they lead: none; www: "
        "to the same host but for www. and the scheme; domain: within the registered domain; any",
    )
    sitemaps: bool = Field(
        False,
        description="also start from the URLs in scope of the sitemaps that robots.txt of a seed's host names, else of "
        "/sitemap.xml",
    )
    max_pages: int = Field(10_000, ge=1, description="responses to store, over all hosts")
    max_pages_per_host: int = Field(5_000, ge=1, description="responses to store from one host")
    max_depth: int = Field(10, ge=0, description="links between a seed and a page")
    max_bytes: int = Field(8 << 20, ge=1 << 10, description="bytes of one response; larger ones are logged, not stored")
    delay: Annotated[float, EXECUTION_ONLY] = Field(
        1.0, ge=0, description="seconds between two requests to one host (robots.txt may ask for a longer delay)"
    )
    concurrency: Annotated[int, EXECUTION_ONLY] = Field(
        16, ge=1, le=512, description="requests in flight, over all hosts"
    )
    concurrency_per_host: Annotated[int, EXECUTION_ONLY] = Field(
        1, ge=1, le=64, description="requests in flight to one host"
    )
    timeout: Annotated[float, EXECUTION_ONLY] = Field(60.0, gt=0, description="seconds for one request")
    retries: Annotated[int, EXECUTION_ONLY] = Field(
        3, ge=0, le=20, description="retries after a connection error or status 429 or 5xx"
    )
    max_retry_after: Annotated[float, EXECUTION_ONLY] = Field(
        300.0,
        ge=0,
        description="longest Retry-After (of 429 and 503), in seconds, to wait for; a host that asks for more is not "
        "requested again in this crawl",
    )
    obey_robots: bool = Field(
        True, description="follow robots.txt (RFC 9309); a host whose robots.txt cannot be read is not crawled"
    )
    tdm_policies: bool = Field(
        True,
        description="request and store /.well-known/tdmrep.json (TDMRep) of each host with a page, if it exists",
    )
    user_agent: str = Field(
        "llm-assets/0.1 (+research crawler; respects robots.txt)",
        min_length=1,
        description="the User-Agent header of every request; its product name is matched against robots.txt",
    )
    proxy: Annotated[str | None, EXECUTION_ONLY] = Field(None, description="HTTP proxy for all requests")
    allow_private: bool = Field(False, description="allow loopback, private and link-local addresses")
    since: str | None = Field(
        None, description="name of an earlier crawl, for conditional requests; a 304 becomes a revisit record"
    )
    clock: datetime | None = Field(None, description="fixed WARC-Date of every record; None uses the time of the fetch")

    @field_validator("seeds")
    @classmethod
    def _http(cls, seeds: tuple[str, ...]) -> tuple[str, ...]:
        for seed in seeds:
            if not re.match(r"(?i:https?)://[^/\s]+", seed):
                raise ValueError(f"seed {seed!r} is not an http(s) URL")
        # A fragment is never sent (RFC 9110, section 7.1).
        return tuple(_with_small_scheme(seed.partition("#")[0]) for seed in seeds)


def _with_small_scheme(url: str) -> str:
    """A URL with its scheme in lower case; in either case it is the same URL (RFC 3986, section 3.1)."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}{separator}{rest}"


def _refuse_parent_folder(snapshot: str) -> str:
    if ".." in snapshot:
        raise ValueError(f"snapshot {snapshot!r} is not a snapshot id")
    return snapshot


def _host_name(text: str) -> str:
    """A host's name as the index has it: in lower case, and in ASCII. Raises ValueError."""
    host = normal_host(text)
    if not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} is not the name of a host or domain, such as example.org")
    return host


def _url_prefix(text: str) -> str:
    """The beginning of a URL, with or without its scheme, written as in the index. Raises ValueError.

    Its host is in ASCII, its path percent-encoded (RFC 3986); a fragment is in no captured URL.
    """
    match = re.fullmatch(r"((?i:https?)://)?([^/:@\s]+)(:\d+)?(/.*)", text.strip())
    if match is None:
        raise ValueError(
            f"prefix {text!r} must contain the whole host, such as example.org/ or https://example.org/docs/"
        )
    if "#" in match[4]:
        raise ValueError(f"prefix {text!r} has a fragment (#…), which no captured URL has; leave it out")
    path = quote(match[4], safe="%/:?[]@!$&'()*+,;=~")
    return f"{(match[1] or '').lower()}{_host_name(match[2])}{match[3] or ''}{path}"


class CommonCrawl(Frozen):
    """WARC files of a Common Crawl snapshot."""

    kind: Literal["common_crawl"] = Field("common_crawl", description="names this kind of source in JSON")
    snapshot: str = Field(pattern=_SNAPSHOT, description="snapshot id, such as CC-MAIN-2026-43")
    files: int | None = Field(
        1, ge=1, description="number of WARC files from the start of warc.paths.gz; None where `paths` is set"
    )
    paths: tuple[str, ...] = Field(
        (), description="instead of `files`: these entries of warc.paths.gz, or their positions as digits"
    )
    base_url: Annotated[str, EXECUTION_ONLY] = Field(
        "https://data.commoncrawl.org/", description="URL of the folder that contains crawl-data/"
    )
    retries: Annotated[int, EXECUTION_ONLY] = Field(
        8, ge=0, le=100, description="retries of one download, with exponential backoff"
    )
    backoff: Annotated[float, EXECUTION_ONLY] = Field(
        1.0, ge=0, description="seconds before the first retry; doubles up to 60"
    )

    _plain = field_validator("snapshot")(_refuse_parent_folder)


class CommonCrawlIndex(Frozen):
    """Captures of a Common Crawl snapshot that its columnar index names. Only their records are fetched.

    `domains`, `hosts` and `prefixes` are alternatives of each other; all other conditions must hold too.
    """

    kind: Literal["common_crawl_index"] = Field("common_crawl_index", description="names this kind of source in JSON")
    snapshot: str = Field(pattern=_SNAPSHOT, description="snapshot id, such as CC-MAIN-2026-43")
    domains: tuple[str, ...] = Field((), description="domains, each with every host below it, such as example.org")
    hosts: tuple[str, ...] = Field((), description="hosts, such as www.example.org")
    prefixes: tuple[str, ...] = Field(
        (), description="beginnings of URLs that contain the whole host; without a scheme, of http and https"
    )
    languages: tuple[str, ...] = Field(
        (), description="main language of the page, the first of content_languages: en or eng"
    )
    mimes: tuple[str, ...] = Field((), description="media types, as detected from the content (content_mime_detected)")
    statuses: tuple[Annotated[int, Field(ge=100, le=999)], ...] = Field(
        (), description="HTTP statuses, from 200 to 299: errors and redirects are outside the part of the index read"
    )
    fetched_from: date | None = Field(None, description="first day (UTC) of the fetch")
    fetched_before: date | None = Field(None, description="first day (UTC) after the last one")
    sample: float = Field(1.0, gt=0, le=1, description="share of the URLs, chosen by their MD5 digest")
    limit: int | None = Field(None, ge=1, description="number of captures, the first in the order of the index")
    index_files: int | None = Field(
        None,
        ge=1,
        description="search only this number of the index's files (about 300), chosen by the digest of their names; "
        "needed where no domain, host or prefix is given, because all of them are hundreds of GB",
    )
    base_url: Annotated[str, EXECUTION_ONLY] = Field(
        "https://data.commoncrawl.org/", description="URL of the folder that contains crawl-data/ and cc-index/"
    )
    connections: Annotated[int, EXECUTION_ONLY] = Field(
        4, ge=1, le=32, description="requests for records in flight; the index is read over one connection"
    )
    retries: Annotated[int, EXECUTION_ONLY] = Field(
        8, ge=0, le=100, description="retries of one request, with exponential backoff"
    )
    backoff: Annotated[float, EXECUTION_ONLY] = Field(
        1.0, ge=0, description="seconds before the first retry; doubles up to 60"
    )

    _plain = field_validator("snapshot")(_refuse_parent_folder)

    @field_validator("domains", "hosts")
    @classmethod
    def _host_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_host_name(host) for host in hosts)

    @field_validator("prefixes")
    @classmethod
    def _whole_hosts(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_url_prefix(prefix) for prefix in prefixes)

    @field_validator("statuses")
    @classmethod
    def _of_pages(cls, statuses: tuple[int, ...]) -> tuple[int, ...]:
        for status in statuses:
            if not 200 <= status <= 299:
                raise ValueError(
                    f"status {status}: the index lists errors and redirects in subset=crawldiagnostics, which is not "
                    "read; give statuses from 200 to 299"
                )
        return statuses

    @field_validator("languages")
    @classmethod
    def _alpha3(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(alpha3_of(language) for language in languages)

    @model_validator(mode="after")
    def _bounded(self) -> CommonCrawlIndex:
        if not (self.domains or self.hosts or self.prefixes or self.index_files):
            raise ValueError(
                "give domains, hosts or prefixes, or the number of index_files to search: without them, the whole "
                "index would be read, hundreds of GB"
            )
        return self


class WarcFiles(Frozen):
    """Existing WARC (or ARC) files."""

    kind: Literal["warc_files"] = Field("warc_files", description="names this kind of source in JSON")
    path: Annotated[str, EXECUTION_ONLY] = Field(
        min_length=1, description="a folder, a file, a glob, or the http(s) URL of one file"
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="expected digest of the file at a URL")
    copy_files: Annotated[bool, EXECUTION_ONLY] = Field(
        False, description="copy the files into the store instead of referring to them by path"
    )


class Texts(Frozen):
    """Texts in JSONL or Parquet files, a document per row. The columns are FineWeb's by default.

    They enter after the extraction of pages: URL rules, languages, quality, duplicates and personal data are those of
    any crawl. Rows with the same URL are versions of one page, of which the latest is read.
    """

    kind: Literal["texts"] = Field("texts", description="names this kind of source in JSON")
    path: Annotated[str, EXECUTION_ONLY] = Field(
        min_length=1, description="a folder, a file or a glob of .jsonl, .jsonl.gz, .jsonl.zst and .parquet files"
    )
    text_column: str = Field("text", min_length=1, description="the document; a row without it is rejected")
    url_column: str = Field(
        "url",
        min_length=1,
        description="where the document is from; without it, text://<file>/<id>, or the row's number without an id",
    )
    id_column: str = Field("id", min_length=1, description="identifies the document where it has no URL")
    date_column: str = Field("date", min_length=1, description="when the document was fetched or written")
    title_column: str = Field("title", min_length=1, description="title of the document, if it has one")

    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.text_column, self.url_column, self.id_column, self.date_column, self.title_column)


Source = Annotated[
    SampleWeb | WebCrawl | CommonCrawl | CommonCrawlIndex | WarcFiles | Texts, Field(discriminator="kind")
]
_SOURCE: TypeAdapter[Any] = TypeAdapter(Source)


def parse_source(data: dict[str, Any]) -> SampleWeb | WebCrawl | CommonCrawl | CommonCrawlIndex | WarcFiles | Texts:
    """A source from plain values, such as JSON. Raises pydantic's ValidationError, which names the field."""
    return _SOURCE.validate_python(data)
