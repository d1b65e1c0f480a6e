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


def current_pages_file(pages: Artifact, crawl: str) -> Path:
    """The table of a crawl in an artifact of either asset."""
    return pages.file(f"{'pages' if pages.record.asset == TRAINING_PAGES else 'versions'}/{crawl}.parquet")


def scan_current(pages_file: Path) -> pl.LazyFrame:
    """Where a crawl's files hold the current pages of the corpus: columns warc_file and warc_offset.

    pages_file: of `current_pages_file`; of `page_versions`, it lists other pages too. Its rows are sorted by these
    columns, so that little of the file is read for the pages of one WARC file.
    """
    table = scan_table(pages_file)
    if "state" in table.collect_schema():
        table = table.filter((pl.col("state") == "current") & pl.col("in_corpus"))
    return table.select("warc_file", "warc_offset")


class CorpusPages:
    """The current pages of the clean corpora among a stage's inputs, in the corpus's order.

    versions: the input that lists the current pages (PAGE_VERSIONS or TRAINING_PAGES).
    pages: selects the pages that models may be trained on. If it is None, pages that only the search tool may use are
    included.
    files: each text table, and the list of its crawl's current pages. Nothing about single pages is kept in memory.
    """

    def __init__(self, inputs: Inputs, versions: str, pages: TrainingPages | None = None):
        self.pages = pages
        self.files: list[tuple[Path, Path]] = []
        for crawl, corpus in inputs.by_crawl("clean_corpus").items():
            listed = current_pages_file(inputs.artifact(versions), crawl)
            self.files += [(path, listed) for path in corpus.table("text")]

    def only(self, numbers: Sequence[int]) -> CorpusPages:
        """The pages of these files alone: what a task that reads them is given.

        A worker on another machine downloads every file that its arguments name.
        """
        pages = copy(self)
        pages.files = [self.files[number] for number in numbers]
        return pages

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns of all pages, a few hundred pages at a time."""
        for number in range(len(self.files)):
            yield from self.file_batches(number, columns)

    def file_batches(self, number: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns of the pages of file `number`, a few hundred pages at a time."""
        path, listed = self.files[number]
        of_file = scan_current(listed).filter(pl.col("warc_file") == path.stem).select("warc_offset").collect()
        selected = pl.col("warc_offset").is_in(of_file["warc_offset"].implode())
        if self.pages is not None:
            selected &= self.pages.is_kept()
        for batch in batches(path, list({*columns, "warc_offset", "host"})):
            yield batch.filter(selected).select(columns)

    def texts(self) -> Iterator[str]:
        """The text of every page."""
        for batch in self.batches(["text"]):
            yield from batch["text"]


__all__ = ["PAGE_VERSIONS", "TRAINING_PAGES", "CorpusPages", "current_pages_file", "scan_current"]
