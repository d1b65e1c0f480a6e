"""`search_index`: full-text search over the clean corpus, behind the assistant's search tool."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes.frozen import Frozen
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import INDEX, passages, write_index

BATCH_ROWS = 256
PAGES_CHECKED = 50
RESULTS_CHECKED = 20


class SearchIndexConfig(Frozen):
    """The greatest length of a passage, and the version of SQLite, which decides the file's bytes."""

    passage_characters: int
    sqlite: str


def search_index_config(recipe: Any, crawl: str | None) -> SearchIndexConfig:
    return SearchIndexConfig(passage_characters=recipe.search_index.passage_characters, sqlite=sqlite3.sqlite_version)


def corpus_files(inputs: Inputs) -> list[Path]:
    """The text tables of every crawl, in the corpus's order."""
    return [path for corpus in inputs.by_crawl("clean_corpus").values() for path in sorted(corpus.table("text"))]


def build_search_index(step: Step, config: SearchIndexConfig) -> None:
    """One part: the index over the passages of all crawls, in the corpus's order."""
    files = corpus_files(step.inputs)
    counts = {"documents": 0, "bytes": 0}
    step.progress.start(len(files), "files")

    def rows() -> Iterator[tuple[str, str]]:
        for number, path in enumerate(files):
            for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["url", "text"]):
                for url, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    counts["documents"] += 1
                    counts["bytes"] += len(text.encode())
                    for passage in passages(text, config.passage_characters):
                        yield url, passage
            step.progress.advance(number + 1)

    with step.part("index") as part:
        temporary = step.staging / f".{INDEX}.{os.getpid()}.tmp"
        written = write_index(temporary, rows())
        os.replace(temporary, step.staging / INDEX)
        part.add_file(INDEX)
        part.stats.update(**counts, passages=written, index_bytes=(step.staging / INDEX).stat().st_size)


def finds_itself(index: Artifact, inputs: Inputs, config: SearchIndexConfig) -> CheckOutcome:
    """Whether pages are found by words of their own: of pages spread over the corpus, the first words of the longest
    passage must bring it up among the first results.
    """
    search = SearchIndex(index.file(INDEX))
    documents = max(index.record.stats["documents"], 1)
    lost: list[dict[str, Any]] = []
    asked = 0
    for path in corpus_files(inputs):
        file = pq.ParquetFile(path)
        take = max(1, round(PAGES_CHECKED * file.metadata.num_rows / documents))
        batch = next(file.iter_batches(take, columns=["url", "text"]), None)
        for url, text in zip(*(column.to_pylist() for column in batch.columns), strict=True) if batch else ():
            longest = max(passages(text, config.passage_characters), key=len, default="")
            words = " ".join(re.findall(r"\w+", longest)[:20])
            if words:
                asked += 1
                if longest not in {passage.text for passage in search.search(words, RESULTS_CHECKED)}:
                    lost.append({"url": url, "query": words})
    numbers = {"pages_searched": asked, "pages_found": asked - len(lost)}
    summary = f"{asked - len(lost)} of {asked} pages are found by words of their own"
    return CheckOutcome(not lost, summary, lost[:20], numbers)


SEARCH_INDEX = Stage(
    name="search_index",
    group="finetuning",
    description="Full-text index over the clean corpus of every crawl, behind the assistant's search tool.",
    kinds=("sqlite",),
    build=build_search_index,
    config=search_index_config,
    code_version="1",
    inputs=("clean_corpus",),
    checks=(
        Check(
            "search_finds_pages",
            "Pages of the corpus are found by words of their own.",
            finds_itself,
            blocking=True,
            code_version="2",
        ),
    ),
    libraries=("pyarrow",),
)
