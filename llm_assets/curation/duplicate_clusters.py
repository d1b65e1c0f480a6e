"""Clusters of duplicates, and the page of each that survives.

Clusters are the connected components of matching pages. Which page survives depends on the pages alone, not on their
order: a page of an earlier crawl, if there is one (scope `corpus`); else the page with the shortest URL (the canonical
address rather than a print version, a session or a mirror's deep path); else the first URL, WARC file and offset in
order. Memory holds 8 × bands bytes for each surviving page.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.tables import polars_schema

from .duplicate_matching import match_pages
from .schemas import Cluster
from .signature_index import SignatureIndex


def find_clusters(
    index: SignatureIndex, bands: int, memory_bytes: int, scratch: Path, fetched_at: pl.Series | None = None
) -> pl.DataFrame:
    """The cluster table (schema Cluster), in order of the surviving page.

    fetched_at: when this crawl's pages were fetched. Of several captures of one URL the latest survives, as it is the
    current one.
    """
    pages, roots = match_pages(index, bands, memory_bytes, scratch)
    if not len(pages):
        return pl.DataFrame(schema=polars_schema(Cluster))
    ranked = _rank(index, pages, roots, fetched_at)
    survivors = (
        ranked.group_by("root", maintain_order=True)
        .first()
        .select("root", cluster="doc_id", kept_page="page", kept_digest="digest")
    )
    ranked = ranked.join(survivors, on="root", how="left", maintain_order="left")
    ranked = ranked.with_columns(size=pl.len().over("root").cast(pl.Int64))
    shared_bands = _count_shared_bands(index, ranked, bands)
    ranked = ranked.join(shared_bands, on="page", how="left", maintain_order="left")
    is_kept = pl.col("page") == pl.col("kept_page")
    same_text = pl.col("digest") == pl.col("kept_digest")
    relation = pl.when(is_kept).then(pl.lit("kept")).when(same_text).then(pl.lit("exact")).otherwise(pl.lit("near"))
    return ranked.with_columns(is_kept=is_kept, relation=relation).select(list(polars_schema(Cluster)))


def _rank(index: SignatureIndex, pages: np.ndarray, roots: np.ndarray, fetched_at: pl.Series | None) -> pl.DataFrame:
    """Members of all clusters (column `root`), the one to keep first."""
    members = index.rows(pages, ["doc_id", "url", "crawl", "warc_file", "warc_offset", "digest"]).with_columns(
        root=pl.Series(roots)
    )
    # A page that an earlier crawl has kept stays, so that its unchanged text is not kept under a new URL too.
    new = pl.Series(~index.returning[members["page"].to_numpy()])
    fetched = pl.repeat("", len(members), eager=True)
    if fetched_at is not None:
        position_in_crawl = np.maximum(members["page"].to_numpy().astype(np.int64) - index.first_new, 0)
        fetched = fetched_at.gather(position_in_crawl)
    of_this_crawl, length = pl.col("page") >= index.first_new, pl.col("url").str.len_chars()
    order = ("root", "of_this_crawl", "earlier", "new", "length", "url", "fetched", "warc_file", "warc_offset")
    ranked = members.with_columns(of_this_crawl=of_this_crawl, new=new, length=length, fetched=fetched)
    ranked = ranked.with_columns(earlier=pl.when("of_this_crawl").then(None).otherwise("page"))
    return ranked.sort(order, descending=[name == "fetched" for name in order], nulls_last=True)


def _count_shared_bands(index: SignatureIndex, ranked: pl.DataFrame, bands: int) -> pl.DataFrame:
    """How many bands each page has in common with the kept page of its cluster (columns `page`, `shared_bands`)."""
    by_page = ranked.select("page", "kept_page").sort("page")
    pages = by_page["page"].to_numpy()
    kept_pages = by_page["kept_page"].unique().sort().to_numpy()
    kept_bands, kept_has_bands = _band_matrix(index.rows(kept_pages, ["bands"]), bands)
    kept_places = np.searchsorted(kept_pages, by_page["kept_page"].to_numpy())
    shared = np.zeros(len(pages), np.int64)
    for first_page, frame in index.chunks(["bands"]):
        low, high = np.searchsorted(pages, [first_page, first_page + len(frame)])
        if low < high:
            page_bands, has_bands = _band_matrix(frame[pages[low:high].astype(np.int64) - first_page], bands)
            places = kept_places[low:high]
            equal = (page_bands == kept_bands[places]).sum(axis=1)
            shared[low:high] = equal * has_bands * kept_has_bands[places]
    return by_page.select("page", shared_bands=pl.Series(shared))


def _band_matrix(frame: pl.DataFrame, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands as uint64 (rows, bands), 0 where a page has none; and which pages have bands."""
    has_bands = (frame["bands"].list.len() > 0).to_numpy()
    matrix = np.zeros((len(frame), bands), np.uint64)
    matrix[has_bands] = frame["bands"].explode().drop_nulls().to_numpy().reshape(-1, bands)
    return matrix, has_bands
