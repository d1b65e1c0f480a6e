"""The duplicate index over several crawls: the signature files of all pages, and which pages have other versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from llm_assets.artifacts.tables import row_count, scan_table

_CHUNK_ROWS = 8_192
# Statuses that show whether a page still exists, as in sql/page_versions.sql.
_ANSWER_STATUSES = [200, 301, 308, 404, 410, 451]


@dataclass(frozen=True)
class SignatureIndex:
    """Signature files of all pages, which are numbered in order: those of earlier crawls first, then of this crawl."""

    files: Sequence[Path]
    starts: np.ndarray  # number of the first page of each file, and of all pages
    first_new: int  # number of this crawl's first page
    superseded: np.ndarray  # bool (pages,): a later crawl has captured the page's URL
    returning: np.ndarray  # bool (pages,): an earlier crawl has captured it

    @classmethod
    def of(
        cls, earlier: Sequence[Path], new: Sequence[Path], captures: Sequence[Sequence[Path]] = ()
    ) -> SignatureIndex:
        """The index of earlier crawls' and this crawl's signature files.

        captures: capture indexes of the earlier crawls and of this one; needed where there are earlier crawls.
        """
        files = [*earlier, *new]
        counts = [row_count(path) for path in files]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        superseded = returning = np.zeros(int(starts[-1]), np.bool_)
        if earlier and captures:
            superseded, returning = find_other_versions(files, captures)
        return cls(files, starts, int(starts[len(earlier)]), superseded, returning)

    @property
    def pages(self) -> int:
        return int(self.starts[-1])

    def chunks(self, columns: list[str]) -> Iterator[tuple[int, pl.DataFrame]]:
        """Frames of the signatures in order, each with the number of its first page."""
        for path, start in zip(self.files, self.starts, strict=False):
            for batch in pq.ParquetFile(path).iter_batches(_CHUNK_ROWS, columns=columns):
                frame = pl.DataFrame(batch)
                yield int(start), frame
                start += len(frame)

    def rows(self, pages: np.ndarray, columns: list[str]) -> Iterator[pl.DataFrame]:
        """Rows of the given pages (sorted numbers), with the number as column `page`; of at most one file at a time."""
        for first, frame in self.chunks(columns):
            low, high = np.searchsorted(pages, [first, first + len(frame)])
            if low < high:
                in_chunk = pages[low:high]
                yield frame[in_chunk - first].with_columns(page=pl.Series(in_chunk, dtype=pl.Int64))


def find_other_versions(files: Sequence[Path], captures: Sequence[Sequence[Path]]) -> tuple[np.ndarray, np.ndarray]:
    """Which pages of several crawls a later crawl has changed, and which an earlier crawl already had; bool (pages,).

    files: signatures, in the crawls' order. captures: capture indexes of the same crawls, in the same order. If a later
    crawl answers a page's URL with another capture, or finds it gone, the page is an old version, and nothing is a
    duplicate of it.
    """
    crawls = [scan_table(path).select(pl.col("crawl").unique()).collect()["crawl"].to_list() for path in files]
    numbers = {crawl: number for number, crawl in enumerate(sorted({name for names in crawls for name in names}), 1)}
    # File by file, since hashes take less memory than URLs.
    hashed = {"url": pl.col("url").hash(seed=1), "crawl_number": pl.col("crawl").replace_strict(numbers)}
    pages = pl.concat([scan_table(path).select(**hashed).cast({"crawl_number": pl.Int64}).collect() for path in files])
    is_answer = pl.col("record_type").is_in(["response", "resource"])
    is_answer &= pl.col("status").fill_null(200).is_in(_ANSWER_STATUSES)
    answers = [
        scan_table(path).filter(is_answer).select(url=pl.col("url").hash(seed=1), last_crawl=pl.lit(number, pl.Int64))
        for number, paths in enumerate(captures, 1)
        for path in paths
    ]
    last_answers = pl.concat(answers).group_by("url").agg(pl.col("last_crawl").max()).collect()
    pages = pages.join(last_answers, on="url", how="left", maintain_order="left")
    pages = pages.with_columns(first_crawl=pl.col("crawl_number").min().over("url"))
    return (
        pages.select(pl.col("crawl_number") < pl.col("last_crawl").fill_null(0)).to_series().to_numpy(),
        pages.select(pl.col("crawl_number") > pl.col("first_crawl")).to_series().to_numpy(),
    )
