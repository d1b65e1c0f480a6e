"""WARC files of a Common Crawl snapshot."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from llm_assets.artifacts.step import Task
from llm_assets.recipes import CommonCrawl

from .capture_index import index_warc
from .download import download
from .errors import SourceError


def list_paths(source: CommonCrawl, folder: Path) -> list[str]:
    """The entries of ``crawl-data/<snapshot>/warc.paths.gz`` that the source asks for, in its order.

    Raises SourceError for a list that cannot be read, an entry that is not in it, or a position beyond its end.
    """
    url = f"{source.base_url.rstrip('/')}/crawl-data/{source.snapshot}/warc.paths.gz"
    listing = download(url, folder / f"{source.snapshot}-warc.paths.gz", source.retries, source.backoff)
    try:
        entries = [line for line in gzip.decompress(listing.read_bytes()).decode("ascii").split("\n") if line]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        listing.unlink()
        raise SourceError(f"{url}: not a gzip list of paths ({error})") from error
    for number, entry in enumerate(entries, 1):
        if entry.startswith("/") or ".." in entry.split("/") or "://" in entry:
            raise SourceError(f"{url}, line {number}: {entry!r} is not a relative path")
    if not source.paths:
        if source.files is not None and source.files > len(entries):
            raise SourceError(f"{url}: has {len(entries)} WARC files, the recipe asks for {source.files}")
        return entries[: source.files]
    known = set(entries)
    wanted = []
    for path in source.paths:
        if path.isdigit():
            if int(path) >= len(entries):
                raise SourceError(f"{url}: has {len(entries)} WARC files, there is no number {path}")
            wanted.append(entries[int(path)])
        elif path in known:
            wanted.append(path)
        else:
            raise SourceError(f"{url}: no entry {path!r}")
    return wanted


def fetch_task(staging: Path, name: str, url: str, warc_file: str, crawl: str, retries: int, backoff: float) -> None:
    """Worker: download one WARC file into the artifact and index it."""
    with Task(staging, name) as task:
        path = download(url, staging / "warc" / warc_file, retries, backoff)
        index_warc(path, warc_file, crawl, task)
        task.add_file(f"warc/{warc_file}")
