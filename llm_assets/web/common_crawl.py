"""The lists of files of a Common Crawl snapshot, and its WARC files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from llm_assets.artifacts.step import Task
from llm_assets.recipes import CommonCrawl, CommonCrawlIndex

from .capture_index import index_warc
from .download import RetryPolicy, download
from .errors import SourceError


def list_paths(source: CommonCrawl, folder: Path) -> list[str]:
    """The entries of ``crawl-data/<snapshot>/warc.paths.gz`` that the source selects, in its order.

    Raises SourceError for a list that cannot be read, an entry that is not in it, or a position beyond its end.
    """
    url, entries = download_paths(source, "warc.paths.gz", folder)
    if source.paths:
        return [_find_entry(url, entries, path) for path in source.paths]
    if source.files is not None and source.files > len(entries):
        raise SourceError(f"{url}: lists {len(entries)} WARC files, but the recipe asks for {source.files}")
    return entries[: source.files]


def download_paths(source: CommonCrawl | CommonCrawlIndex, name: str, folder: Path) -> tuple[str, list[str]]:
    """A list of paths in ``crawl-data/<snapshot>/``: its URL and its entries. Raises SourceError for an unreadable one.

    name: of the list. folder: where the download is kept.
    """
    url = f"{source.base_url.rstrip('/')}/crawl-data/{source.snapshot}/{name}"
    listing = download(url, folder / f"{source.snapshot}-{name}", RetryPolicy(source.retries, source.backoff))
    return url, _read_entries(url, listing)


def _read_entries(url: str, listing: Path) -> list[str]:
    try:
        entries = [line for line in gzip.decompress(listing.read_bytes()).decode("ascii").split("\n") if line]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        listing.unlink()
        raise SourceError(f"{url}: not a gzip list of paths ({error})") from error
    for number, entry in enumerate(entries, 1):
        if entry.startswith("/") or ".." in entry.split("/") or "://" in entry:
            raise SourceError(f"{url}, line {number}: {entry!r} is not a relative path")
    return entries


def _find_entry(url: str, entries: list[str], path: str) -> str:
    """An entry by its path or its number, from 0."""
    if path.isdecimal():
        if int(path) >= len(entries):
            raise SourceError(f"{url}: lists {len(entries)} WARC files, numbered from 0; there is no number {path}")
        return entries[int(path)]
    if path not in entries:
        raise SourceError(f"{url}: no entry {path!r}")
    return path


def fetch_task(staging: Path, name: str, url: str, warc_file: str, crawl: str, policy: RetryPolicy) -> None:
    """Worker: download one WARC file into the artifact, and index it."""
    with Task(staging, name) as task:
        path = download(url, staging / "warc" / warc_file, policy)
        index_warc(path, warc_file, crawl, task)
        task.add_file(f"warc/{warc_file}")
