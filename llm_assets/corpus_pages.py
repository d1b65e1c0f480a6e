"""The current pages of the clean corpus: what is searched, reported and trained on after pages have changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches
from llm_assets.recipes.training_pages import TrainingPages

# Of every crawl, and of those that models are trained on.
PAGE_VERSIONS, TRAINING_PAGES = "page_versions", "training_pages"


def current_page_locations(pages: Artifact, crawl: str) -> pl.DataFrame:
    """Where the current pages of the corpus lie in a crawl, by either asset: columns warc_file, warc_offset."""
    if pages.record.asset == TRAINING_PAGES:
        table = pl.scan_parquet(pages.file(f"pages/{crawl}.parquet"))
    else:
        table = pl.scan_parquet(pages.file(f"versions/{crawl}.parquet"))
        table = table.filter((pl.col("state") == "current") & pl.col("in_corpus"))
    return table.select("warc_file", "warc_offset").collect()


class CorpusPages:
    """Pages of the clean corpora among a stage's inputs, in the corpus's order, without those no longer current.

    versions: the name of the input that says which are (PAGE_VERSIONS or TRAINING_PAGES). pages: narrows them to those that
    models may be trained on; without it, pages that only the search tool may know are among them.
    """

    def __init__(self, inputs: Inputs, versions: str, pages: TrainingPages | None = None):
        self.files: list[tuple[Path, pl.Expr]] = []
        for crawl, corpus in inputs.by_crawl("clean_corpus").items():
            places = current_page_locations(inputs.artifact(versions), crawl)
            offsets = dict(places.group_by("warc_file").agg("warc_offset").iter_rows())
            for path in corpus.table("text"):
                kept = pl.col("warc_offset").is_in(offsets.get(path.stem, []))
                self.files.append((path, kept if pages is None else kept & pages.kept()))

    def scan(self, columns: Sequence[str]) -> pl.LazyFrame:
        """These columns of all pages."""
        return pl.concat([pl.scan_parquet(path).filter(kept).select(columns) for path, kept in self.files])

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns, a few hundred pages at a time."""
        for number in range(len(self.files)):
            yield from self.file_batches(number, columns)

    def file_batches(self, number: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The same of one of the files."""
        path, kept = self.files[number]
        for batch in batches(path, list({*columns, "warc_offset", "host"})):
            yield batch.filter(kept).select(columns)

    def texts(self) -> Iterator[str]:
        for batch in self.batches(["text"]):
            yield from batch["text"]


__all__ = ["PAGE_VERSIONS", "TRAINING_PAGES", "CorpusPages", "current_page_locations"]
