"""Clusters of duplicates, and the page of each that survives.

Clusters are the connected components of matching pages. Which page survives depends on the pages alone, not on their
order: a page of an earlier crawl, if there is one (scope `corpus`); else the page with the shortest URL (the canonical
address rather than a print version, a session or a mirror's deep path); else the first URL, WARC file and offset in
order.

The rows of the clusters' pages are gathered in one pass over the signatures. If they need more memory than the recipe
allows, they are spread over files, of which each holds whole clusters. The largest cluster is always held at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.tables import polars_schema, read_table, write_table

from .duplicate_matching import match_pages
from .schemas import Cluster
from .signature_index import SignatureIndex

# Bytes of a page while its cluster is ranked, without its bands: 300 of strings, and their sorted copies.
_PAGE_BYTES = 1_000
_COLUMNS = ["doc_id", "url", "crawl", "warc_file", "warc_offset", "digest", "bands"]


def find_clusters(
    index: SignatureIndex, bands: int, memory_bytes: int, scratch: Path, texts: Sequence[Path] = ()
) -> Iterator[pl.DataFrame]:
    """The cluster table (schema Cluster), in order of the first page of each cluster, the surviving page first.

    It comes in frames of whole clusters. texts: the tables with this crawl's pages, as in the index. Of several
    captures of one URL the one that was fetched last survives, as it is the current one.
    """
    pages, roots = match_pages(index, bands, memory_bytes, scratch)
    for members in _portions(index, pages, roots, texts, memory_bytes // (_PAGE_BYTES + 16 * bands), scratch):
        ranked = _rank(index, members)
        survivors = (
            ranked.group_by("root", maintain_order=True)
            .first()
            .select("root", cluster="doc_id", kept_page="page", kept_digest="digest")
        )
        ranked = ranked.join(survivors, on="root", how="left", maintain_order="left")
        ranked = ranked.with_columns(size=pl.len().over("root").cast(pl.Int64))
        ranked = ranked.with_columns(shared_bands=_count_shared_bands(ranked, bands))
        is_kept = pl.col("page") == pl.col("kept_page")
        same_text = pl.col("digest") == pl.col("kept_digest")
        relation = pl.when(is_kept).then(pl.lit("kept")).when(same_text).then(pl.lit("exact")).otherwise(pl.lit("near"))
        yield ranked.with_columns(is_kept=is_kept, relation=relation).select(list(polars_schema(Cluster)))


def _portions(
    index: SignatureIndex, pages: np.ndarray, roots: np.ndarray, texts: Sequence[Path], rows: int, scratch: Path
) -> Iterator[pl.DataFrame]:
    """The rows of the clusters' pages with `root` and `fetched`, in frames of about `rows` rows of whole clusters."""
    if not len(pages):
        return
    _, place, sizes = np.unique(roots, return_inverse=True, return_counts=True)
    portion = ((np.cumsum(sizes) - sizes) // max(rows, 1))[place]  # of each page
    members = _member_rows(index, pages, roots, texts)
    if portion.max() == 0:
        yield pl.concat(members)
        return
    shutil.rmtree(scratch, ignore_errors=True)
    files: dict[int, list[Path]] = {}
    done = 0
    for gathered in _gathered(members, rows):
        numbers = pl.Series("portion", portion[done : done + len(gathered)])
        done += len(gathered)
        for (number,), frame in gathered.with_columns(numbers).group_by("portion", maintain_order=True):
            of_portion = files.setdefault(int(number), [])
            of_portion.append(scratch / f"{number:06d}" / f"{len(of_portion):06d}.parquet")
            of_portion[-1].parent.mkdir(parents=True, exist_ok=True)
            write_table(frame.drop("portion"), of_portion[-1])
    for number in sorted(files):
        yield read_table(files[number])
        shutil.rmtree(scratch / f"{number:06d}")
    shutil.rmtree(scratch)


def _gathered(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Frames joined until they have `rows` rows."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        if sum(map(len, waiting)) >= rows:
            yield pl.concat(waiting)
            waiting = []
    if waiting:
        yield pl.concat(waiting)


def _member_rows(
    index: SignatureIndex, pages: np.ndarray, roots: np.ndarray, texts: Sequence[Path]
) -> Iterator[pl.DataFrame]:
    """The rows of pages in order, with `root`, and `fetched`: when this crawl's pages were fetched, else empty."""
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
        of_pages = roots[np.searchsorted(pages, numbers)]
        yield frame.with_columns(root=pl.Series(of_pages, dtype=pl.Int64), fetched=fetched)


def _rank(index: SignatureIndex, members: pl.DataFrame) -> pl.DataFrame:
    """Members of clusters (column `root`), the one to keep first."""
    # A page that an earlier crawl has kept stays, so that its unchanged text is not kept under a new URL too.
    new = pl.Series(~index.returning[members["page"].to_numpy()])
    of_this_crawl, length = pl.col("page") >= index.first_new, pl.col("url").str.len_chars()
    order = ("root", "of_this_crawl", "earlier", "new", "length", "url", "fetched", "warc_file", "warc_offset")
    ranked = members.with_columns(of_this_crawl=of_this_crawl, new=new, length=length)
    ranked = ranked.with_columns(earlier=pl.when("of_this_crawl").then(None).otherwise("page"))
    return ranked.sort(order, descending=[name == "fetched" for name in order], nulls_last=True)


def _count_shared_bands(ranked: pl.DataFrame, bands: int) -> pl.Series:
    """How many bands each page has in common with the kept page of its cluster, which is in the frame too."""
    has_bands = (ranked["bands"].list.len() > 0).to_numpy()
    matrix = np.zeros((len(ranked), bands), np.uint64)
    matrix[has_bands] = ranked["bands"].explode().drop_nulls().to_numpy().reshape(-1, bands)
    pages = ranked["page"].to_numpy()
    order = np.argsort(pages)
    kept_places = order[np.searchsorted(pages, ranked["kept_page"].to_numpy(), sorter=order)]
    shared = (matrix == matrix[kept_places]).sum(axis=1) * has_bands * has_bands[kept_places]
    return pl.Series(shared, dtype=pl.Int64)
