"""Finds captures in Common Crawl's columnar index, without downloading it.

Its files are sorted by SURT key, and DuckDB reads only the row groups whose keys can match, and of the other columns
only those of row groups with a match. The index: https://github.com/commoncrawl/cc-index-table
"""

from __future__ import annotations

import functools
import hashlib
import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from llm_assets.artifacts.tables import read_table, write_table
from llm_assets.recipes import CommonCrawlIndex
from llm_assets.sql import connect, file_pattern, statement

from .common_crawl import download_paths
from .download import RangeReader, RetryPolicy
from .errors import AbsentFile, SourceError
from .remote_parquet import PROTOCOL, RemoteParquet
from .surt import KeyRange, domain_ranges, host_ranges, prefix_ranges

_PAGES = "/subset=warc/"  # the others are robots.txt files, and redirects and errors
_MD5_VALUES = 1 << 128


def index_files(source: CommonCrawlIndex, folder: Path) -> list[str]:
    """Paths of the index's files that the source searches, in the order of the snapshot's list.

    Raises SourceError for a list that cannot be read, or that has no file with pages, or fewer than the source asks
    for.
    """
    url, entries = download_paths(source, "cc-index-table.paths.gz", folder)
    listed = [entry for entry in entries if _PAGES in entry and entry.endswith(".parquet")]
    if not listed:
        raise SourceError(f"{url}: lists no Parquet file of subset=warc")
    if source.index_files is None:
        return listed
    if source.index_files > len(listed):
        raise SourceError(f"{url}: lists {len(listed)} files of subset=warc, fewer than {source.index_files}")
    by_digest = sorted(listed, key=lambda path: hashlib.sha256(path.encode()).digest())
    chosen = set(by_digest[: source.index_files])
    return [path for path in listed if path in chosen]


def find_captures(
    source: CommonCrawlIndex, folder: Path, report: Callable[[int, int, int], None] = lambda done, total, rows: None
) -> pl.DataFrame:
    """The captures that the source selects, as `sql/index_captures.sql` gives them, each record once.

    folder: keeps the captures of each searched file, so that an interrupted search continues. report: is called with
    the number of searched files, of all of them, and of captures. Raises SourceError for a file of the index that the
    server does not have or that has other columns, and DownloadError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = index_files(source, folder)
    files = RemoteParquet(source.base_url, RangeReader(RetryPolicy(source.retries, source.backoff)))
    frames: list[pl.DataFrame] = []
    with connect() as connection:
        connection.register_filesystem(files)
        # One thread: one connection to the server, and an object for it that is not shared.
        connection.execute("SET threads = 1; SET TimeZone = 'UTC'; SET enable_external_file_cache = false")
        for number, path in enumerate(paths, 1):
            frames.append(_captures_of_file(source, path, folder, files, connection))
            if source.limit is not None:
                frames = [_each_record_once(frames).head(source.limit)]
            count = sum(map(len, frames))
            report(number, len(paths), count)
            if count == source.limit:
                break
    return _each_record_once(frames)


def _each_record_once(captures: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The first capture of each record, in the order of the frames."""
    return pl.concat(captures).unique(["source_file", "source_offset"], keep="first", maintain_order=True)


def _first_captures(rows: duckdb.DuckDBPyRelation, limit: int) -> pl.DataFrame:
    """The first captures of so many records, or of all. Only if records are listed twice are more rows read."""
    captures, last = pl.DataFrame(), -1
    while True:
        missing = limit - len(captures)
        more = rows.filter(f"file_row_number > {last}").order("file_row_number").limit(missing).pl()
        captures = _each_record_once([captures, more] if len(captures) else [more])
        if len(more) < missing or len(captures) == limit:
            return captures
        last = int(more["file_row_number"][-1])


def _captures_of_file(
    source: CommonCrawlIndex, path: str, folder: Path, files: RemoteParquet, connection: duckdb.DuckDBPyConnection
) -> pl.DataFrame:
    stored = folder / path.rpartition("/")[2]
    if stored.exists():
        return read_table(stored)
    parameters = {"index_file": [file_pattern(f"{PROTOCOL}://{path}")], **_parameters(source)}
    try:
        rows = connection.sql(statement("index_captures"), params=parameters)
        condition = _key_condition(source)
        if condition is not None:
            rows = rows.filter(condition)
        limit = source.limit
        captures = rows.order("file_row_number").pl() if limit is None else _first_captures(rows, limit)
    except duckdb.Error as error:
        url, failure = files.url_of(path), files.failure
        if isinstance(failure, AbsentFile):
            raise SourceError(
                f"{failure}; the snapshot's list names this file of its index, and captures in it would be missed. "
                "Is base_url right, and its copy complete?"
            ) from None
        if failure is not None:
            raise failure from None
        raise SourceError(f"{url}: cannot be read as a file of the index ({str(error).splitlines()[0]})") from error
    temporary = stored.with_name(f".{stored.name}.tmp")
    write_table(captures, temporary)
    os.replace(temporary, stored)
    return captures


def _parameters(source: CommonCrawlIndex) -> dict[str, Any]:
    """The parameters of `sql/index_captures.sql`, without the file."""
    schemes = ("http://", "https://")
    return {
        "domains": list(source.domains),
        "hosts": list(source.hosts),
        "prefixes": [
            url
            for prefix in source.prefixes
            for url in ([prefix] if prefix.startswith(schemes) else [scheme + prefix for scheme in schemes])
        ],
        "languages": list(source.languages),
        "mimes": list(source.mimes),
        "statuses": list(source.statuses),
        "fetched_from": None if source.fetched_from is None else f"{source.fetched_from}T00:00:00Z",
        "fetched_before": None if source.fetched_before is None else f"{source.fetched_before}T00:00:00Z",
        "sample": None if source.sample == 1.0 else f"{int(source.sample * _MD5_VALUES):032x}",
    }


def key_ranges(source: CommonCrawlIndex) -> list[KeyRange]:
    """Ranges of SURT keys outside of which no capture matches; none if the source selects every host."""
    ranges: list[KeyRange] = []
    for domain in source.domains:
        ranges += domain_ranges(domain)
    for host in source.hosts:
        ranges += host_ranges(host)
    for prefix in source.prefixes:
        ranges += prefix_ranges(prefix if "://" in prefix else f"http://{prefix}")
    return sorted(set(ranges))


def _key_condition(source: CommonCrawlIndex) -> duckdb.Expression | None:
    """A condition on the key alone, which DuckDB compares with the statistics of row groups."""
    key, value = duckdb.ColumnExpression("url_surtkey"), duckdb.ConstantExpression
    conditions = [(key >= value(first)) & (key < value(end)) for first, end in key_ranges(source)]
    return functools.reduce(operator.or_, conditions) if conditions else None
