"""Clusters of duplicates, and the page of each that survives.

Clusters are the connected components of matching pages. Which page survives depends on the pages alone, not on their
order: a page of an earlier crawl, if there is one (scope `corpus`); else the page with the shortest URL (the canonical
address rather than a print version, a session or a mirror's deep path); else the first URL, WARC file and offset in
order.

The rows of the clusters' pages are gathered in one pass over the signatures, and sorted on disk by cluster and rank. Of
a cluster, however large, memory holds the surviving page and some thousand others.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from llm_assets.artifacts.tables import INDEX_ROWS, batches, polars_schema, read_table
from llm_assets.sql import write_sorted

from .duplicate_matching import match_pages
from .schemas import Cluster
from .signature_index import SignatureIndex

FRAME_ROWS = INDEX_ROWS
_COLUMNS = ["doc_id", "url", "crawl", "warc_file", "warc_offset", "digest", "bands"]
# Of a cluster, which `root` names, the page to keep comes first. The last columns differ between any two pages.
_RANK = ["root", "of_this_crawl", "earlier", "new", "length", "url", "fetched", "warc_file", "warc_offset", "page"]


def find_clusters(
    index: SignatureIndex, bands: int, memory_bytes: int, scratch: Path, texts: Sequence[Path] = ()
) -> Iterator[pl.DataFrame]:
    """The cluster table (schema Cluster), in order of the first page of each cluster, the surviving page first.

    It comes in frames of at most FRAME_ROWS rows, with the URL of each cluster's surviving page as `kept_url`. texts:
    the tables with this crawl's pages, as in the index. Of several captures of one URL the one that was fetched last
    survives, as it is the current one.
    """
    pages, roots = match_pages(index, bands, memory_bytes, scratch)
    if not len(pages):
        return
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    unsorted, ranked = scratch / "unsorted.parquet", scratch / "ranked.parquet"
    _write(_gathered(_member_rows(index, pages, roots, texts)), unsorted)
    write_sorted(unsorted, _RANK, ranked, descending=["fetched"])
    unsorted.unlink()
    columns = [*polars_schema(Cluster), "kept_url"]
    for frame in _related(batches(ranked, rows=FRAME_ROWS), *np.unique(roots, return_counts=True), bands):
        yield frame.select(columns)
    shutil.rmtree(scratch)


def _write(frames: Iterable[pl.DataFrame], file: Path) -> None:
    """Write frames, of which there is one at least, into a parquet file, each as a row group."""
    tables = (frame.to_arrow() for frame in frames)
    first = next(tables)
    with pq.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _gathered(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Frames joined until they have FRAME_ROWS rows."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        if sum(map(len, waiting)) >= FRAME_ROWS:
            yield pl.concat(waiting)
            waiting = []
    if waiting:
        yield pl.concat(waiting)


def _member_rows(
    index: SignatureIndex, pages: np.ndarray, roots: np.ndarray, texts: Sequence[Path]
) -> Iterator[pl.DataFrame]:
    """The rows of pages in order, with the columns that rank them.

    fetched: when this crawl's pages were fetched, else empty. earlier: the number of an earlier crawl's page, else -1.
    """
    first_text = len(index.files) - len(texts)
    times, times_file = pl.Series(dtype=pl.String), -1
    for frame in index.rows(pages, _COLUMNS):
        numbers = frame["page"].to_numpy()
        file = int(np.searchsorted(index.starts, numbers[0], "right")) - 1
        fetched = pl.repeat("", len(frame), eager=True)
        if texts and file >= first_text:
            if file != times_file:
                times, times_file = read_table(texts[file - first_text], columns=["fetched_at"])["fetched_at"], file
            fetched = times.gather(numbers - index.starts[file])
        of_this_crawl = pl.col("page") >= index.first_new
        yield frame.with_columns(
            root=pl.Series(roots[np.searchsorted(pages, numbers)], dtype=pl.Int64),
            of_this_crawl=of_this_crawl,
            earlier=pl.when(of_this_crawl).then(-1).otherwise("page"),
            # A page that an earlier crawl has kept stays, so that its unchanged text is not kept under a new URL too.
            new=pl.Series(~index.returning[numbers]),
            length=pl.col("url").str.len_chars(),
            fetched=fetched,
        )


def _related(
    ranked: Iterable[pl.DataFrame], roots: np.ndarray, sizes: np.ndarray, bands: int
) -> Iterator[pl.DataFrame]:
    """Ranked pages of clusters, with how each relates to the first of its cluster, which may be in an earlier frame.

    roots, sizes: of all clusters, by root.
    """
    last_survivor: pl.DataFrame | None = None  # the surviving page of the last cluster so far: one row
    for frame in ranked:
        root = frame["root"].to_numpy()
        is_first = np.diff(root, prepend=-1 if last_survivor is None else last_survivor["root"][0]) != 0
        first = frame.filter(pl.Series(is_first))
        survivors = first if last_survivor is None else pl.concat([last_survivor, first])
        place = np.cumsum(is_first) - (last_survivor is None)  # of each page's survivor
        last_survivor = survivors.tail(1)
        survivor = survivors.select(cluster="doc_id", kept_url="url", kept_page="page", kept_digest="digest")[place]
        is_kept, same_text = pl.col("page") == pl.col("kept_page"), pl.col("digest") == pl.col("kept_digest")
        relation = pl.when(is_kept).then(pl.lit("kept")).when(same_text).then(pl.lit("exact")).otherwise(pl.lit("near"))
        yield pl.concat([frame, survivor], how="horizontal").with_columns(
            size=pl.Series(sizes[np.searchsorted(roots, root)], dtype=pl.Int64),
            is_kept=is_kept,
            relation=relation,
            shared_bands=_count_shared_bands(frame["bands"], survivors["bands"], place, bands),
        )


def _count_shared_bands(pages: pl.Series, survivors: pl.Series, place: np.ndarray, bands: int) -> pl.Series:
    """How many bands each page has in common with its survivor, whose `place` among the survivors is given."""
    (matrix, has_bands), (of_survivors, survivor_has_bands) = _matrix(pages, bands), _matrix(survivors, bands)
    shared = (matrix == of_survivors[place]).sum(axis=1) * has_bands * survivor_has_bands[place]
    return pl.Series(shared, dtype=pl.Int64)


def _matrix(lists: pl.Series, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands of pages (uint64, (n, bands)), and whether each page has some (bool, (n,))."""
    has_bands = (lists.list.len() > 0).to_numpy()
    matrix = np.zeros((len(lists), bands), np.uint64)
    matrix[has_bands] = lists.explode().drop_nulls().to_numpy().reshape(-1, bands)
    return matrix, has_bands
