"""Selects the documents of token shards that are trained on: those whose page is still current."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.record import fsync_path
from llm_assets.artifacts.tables import read_table
from llm_assets.corpus_pages import TRAINING_PAGES, current_page_locations

from .shards import SPLITS, kept_file


def shard_documents(inputs: Inputs) -> pl.DataFrame:
    """The document index of all crawls' shards, in stream order, with `current`: whether the document's page is
    current.
    """
    frames = []
    for crawl, shards in inputs.by_crawl("token_shards").items():
        places = current_page_locations(inputs.artifact(TRAINING_PAGES), crawl).with_columns(current=pl.lit(True))
        index = read_table(shards.table("documents")).sort("split", "position")
        joined = index.join(places, on=["warc_file", "warc_offset"], how="left", maintain_order="left")
        frames.append(joined.with_columns(pl.col("current").fill_null(False)))
    if not frames:  # a recipe without crawls
        return pl.DataFrame(schema={"split": pl.String, "length": pl.Int64, "current": pl.Boolean})
    return pl.concat(frames)


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
