"""Selects the documents of token shards that are trained on: those whose page is still current."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.record import fsync_path
from llm_assets.artifacts.tables import INDEX_ROWS, batches
from llm_assets.corpus_pages import TRAINING_PAGES, current_pages_file, scan_current

from .shards import SPLITS, kept_file

PLACE = ["warc_file", "warc_offset"]
# Types of the columns of the index that are not strings, and of `current`.
TYPES = {
    **dict.fromkeys(["warc_offset", "position", "shard", "offset", "length", "bytes"], pl.Int64),
    "split": pl.Enum(SPLITS),
    "current": pl.Boolean,
}


def shard_documents(inputs: Inputs, columns: Sequence[str] = ()) -> pl.DataFrame:
    """The document index of all crawls' shards, in stream order: columns `split`, `length`, those named, and `current`.

    current: whether the document's page is current. Memory holds these columns of all documents, 10 bytes without
    further ones, so name no more than needed.
    """
    wanted = list(dict.fromkeys(["split", "length", *columns]))
    none = pl.DataFrame(schema={name: TYPES.get(name, pl.String) for name in [*wanted, "current"]})
    frames = [none]  # for a recipe without crawls
    for crawl, shards in inputs.by_crawl("token_shards").items():
        listed = current_pages_file(inputs.artifact(TRAINING_PAGES), crawl)
        of_crawl = [none]  # for a crawl without documents
        for path in shards.table("documents"):
            for batch in batches(path, list({*wanted, *PLACE}), INDEX_ROWS):
                of_crawl.append(_with_current(batch, listed).cast({"split": TYPES["split"]}).select(none.columns))
        # Within a split, the documents of a crawl are stored in the order of its files.
        frames.append(pl.concat(of_crawl).sort("split", maintain_order=True))
    return pl.concat(frames)


def _with_current(documents: pl.DataFrame, listed: Path) -> pl.DataFrame:
    """Some documents with `current`: whether their pages are in the list of current ones."""
    files = documents["warc_file"].unique()
    places = scan_current(listed).filter(pl.col("warc_file").is_in(files.implode())).collect()
    marked = documents.join(places.with_columns(current=pl.lit(True)), on=PLACE, how="left", maintain_order="left")
    return marked.with_columns(pl.col("current").fill_null(False))


def write_kept(documents: pl.DataFrame, folder: Path) -> str | None:
    """Write the selection of each split's documents that TokenStream reads.

    Returns its folder; None if all are selected.
    """
    if documents["current"].all():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        path = kept_file(folder, split)
        np.save(path, documents.filter(pl.col("split") == split)["current"].to_numpy())
        fsync_path(path)
    return str(folder)


__all__ = ["shard_documents", "write_kept"]
