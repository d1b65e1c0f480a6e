"""`search_index`: full-text search over the clean corpus, behind the assistant's search tool."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import row_count
from llm_assets.corpus_pages import PAGE_VERSIONS, TRAINING_PAGES, CorpusPages
from llm_assets.recipes.frozen import Frozen
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import INDEX, split_passages, write_index

PAGES_CHECKED = 50
RESULTS_CHECKED = 20


class SearchIndexConfig(Frozen):
    """The greatest length of a passage, and the version of SQLite, which decides the file's bytes."""

    passage_characters: int
    sqlite: str


def search_index_config(recipe: Any, crawl: str | None) -> SearchIndexConfig:
    return SearchIndexConfig(passage_characters=recipe.search_index.passage_characters, sqlite=sqlite3.sqlite_version)


def indexed_pages(inputs: Inputs) -> CorpusPages:
    """The pages that are indexed: the current ones of every crawl that is read."""
    return CorpusPages(inputs, PAGE_VERSIONS if PAGE_VERSIONS in inputs else TRAINING_PAGES)


def build_search_index(step: Step, config: SearchIndexConfig) -> None:
    """One part: the index over the passages of the current pages, in the corpus's order."""
    pages = indexed_pages(step.inputs)
    counts = {"documents": 0, "bytes": 0}
    step.progress.start(len(pages.files), "files")

    def rows() -> Iterator[tuple[str, str]]:
        for number in range(len(pages.files)):
            for batch in pages.file_batches(number, ["url", "text"]):
                for url, text in batch.iter_rows():
                    counts["documents"] += 1
                    counts["bytes"] += len(text.encode())
                    for passage in split_passages(text, config.passage_characters):
                        yield url, passage
            step.progress.advance(number + 1)

    with step.task("index") as task:
        temporary = step.staging / f".{INDEX}.{os.getpid()}.tmp"
        written = write_index(temporary, rows())
        os.replace(temporary, step.staging / INDEX)
        task.add_file(INDEX)
        task.stats.update(**counts, passages=written, index_bytes=(step.staging / INDEX).stat().st_size)


def finds_itself(index: Artifact, inputs: Inputs, config: SearchIndexConfig) -> CheckOutcome:
    """Whether pages are found by words of their own: of pages spread over the corpus, the first words of the longest
    passage must bring it up among the first results.
    """
    search = SearchIndex(index.file(INDEX))
    documents = max(index.record.stats["documents"], 1)
    lost: list[dict[str, Any]] = []
    asked = 0
    pages = indexed_pages(inputs)
    for number, (path, _) in enumerate(pages.files):
        take = max(1, round(PAGES_CHECKED * row_count(path) / documents))
        batch = next(pages.file_batches(number, ["url", "text"]), None)
        for url, text in batch.head(take).iter_rows() if batch is not None else ():
            longest = max(split_passages(text, config.passage_characters), key=len, default="")
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
    description="Full-text index over the current pages of every crawl, behind the assistant's search tool.",
    kinds=("sqlite",),
    build=build_search_index,
    config=search_index_config,
    code_version="1",
    inputs=("clean_corpus", PAGE_VERSIONS),
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
TRAINING_SEARCH_INDEX = replace(
    SEARCH_INDEX,
    name="training_search_index",
    description="The same over the crawls that models are trained on alone: what the assistant searches while it learns "
    "and is examined, so that a re-crawl that leaves the model alone changes nothing of it.",
    inputs=("clean_corpus", TRAINING_PAGES),
    crawls=lambda recipe: recipe.trained_crawls(),
)
