"""Which documents of token shards are trained on: all but those whose page is no longer current."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.record import fsync_path
from llm_assets.corpus_pages import TRAINING_PAGES, current_page_locations

from .shards import SPLITS, kept_file


def shard_documents(inputs: Inputs) -> pl.DataFrame:
    """The index of the shards of every crawl, in the streams' order, with `current`: whether its page is."""
    frames = []
    for crawl, shards in inputs.by_crawl("token_shards").items():
        places = current_page_locations(inputs.artifact(TRAINING_PAGES), crawl).with_columns(current=pl.lit(True))
        index = pl.concat([pl.read_parquet(path) for path in shards.table("documents")]).sort("split", "position")
        joined = index.join(places, on=["warc_file", "warc_offset"], how="left", maintain_order="left")
        frames.append(joined.with_columns(pl.col("current").fill_null(False)))
    return pl.concat(frames)


def write_kept(documents: pl.DataFrame, folder: Path) -> str | None:
    """Write which documents of each split are trained on, for TokenStream; None where all are."""
    if documents["current"].all():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        path = kept_file(folder, split)
        np.save(path, documents.filter(pl.col("split") == split)["current"].to_numpy())
        fsync_path(path)
    return str(folder)


__all__ = ["shard_documents", "write_kept"]
