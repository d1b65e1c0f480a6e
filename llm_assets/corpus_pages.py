"""The current pages of the clean corpus: those that are searched, reported and trained on after pages have changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches, scan_table
from llm_assets.recipes.training_pages import TrainingPages

# The two assets that list current pages: of all crawls, and of the crawls that models are trained on.
PAGE_VERSIONS = "page_versions"
TRAINING_PAGES = "training_pages"


def current_page_locations(pages: Artifact, crawl: str) -> pl.DataFrame:
    """Where a crawl's files hold the current pages of the corpus: columns warc_file and warc_offset.

    pages: an artifact of either asset.
    """
    if pages.record.asset == TRAINING_PAGES:
        table = scan_table(pages.file(f"pages/{crawl}.parquet"))
    else:
        table = scan_table(pages.file(f"versions/{crawl}.parquet"))
        table = table.filter((pl.col("state") == "current") & pl.col("in_corpus"))
    return table.select("warc_file", "warc_offset").collect()


class CorpusPages:
    """The current pages of the clean corpora among a stage's inputs, in the corpus's order.

    versions: the input that lists the current pages (PAGE_VERSIONS or TRAINING_PAGES).
    pages: selects the pages that models may be trained on. If it is None, pages that only the search tool may use are
    included.
    """

    def __init__(self, inputs: Inputs, versions: str, pages: TrainingPages | None = None):
        self.files: list[tuple[Path, pl.Expr]] = []
        for crawl, corpus in inputs.by_crawl("clean_corpus").items():
            locations = current_page_locations(inputs.artifact(versions), crawl)
            offsets = dict(locations.group_by("warc_file").agg("warc_offset").iter_rows())
            for path in corpus.table("text"):
                is_current = pl.col("warc_offset").is_in(offsets.get(path.stem, []))
                self.files.append((path, is_current if pages is None else is_current & pages.is_kept()))

    def only(self, number: int) -> CorpusPages:
        """The pages of file `number` alone."""
        pages = copy(self)
        pages.files = [self.files[number]]
        return pages

    def scan(self, columns: Sequence[str]) -> pl.LazyFrame:
        """These columns of all pages."""
        if not self.files:  # a recipe without crawls
            return pl.LazyFrame(schema=dict.fromkeys(columns, pl.String))
        return pl.concat([scan_table(path).filter(selected).select(columns) for path, selected in self.files])

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns of all pages, a few hundred pages at a time."""
        for number in range(len(self.files)):
            yield from self.file_batches(number, columns)

    def file_batches(self, number: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns of the pages of file `number`, a few hundred pages at a time."""
        path, selected = self.files[number]
        for batch in batches(path, list({*columns, "warc_offset", "host"})):
            yield batch.filter(selected).select(columns)

    def texts(self) -> Iterator[str]:
        """The text of every page."""
        for batch in self.batches(["text"]):
            yield from batch["text"]


__all__ = ["PAGE_VERSIONS", "TRAINING_PAGES", "CorpusPages", "current_page_locations"]
