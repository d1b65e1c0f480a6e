"""`search_index`: full-text index over the clean corpus for the assistant's search tool."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.identity import OMITTED_IF_NONE
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import row_count
from llm_assets.corpus_pages import PAGE_VERSIONS, TRAINING_PAGES, CorpusPages
from llm_assets.recipes.frozen import Frozen
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import SEGMENT, index_path, split_passages, write_index

PAGES_CHECKED = 50
RESULTS_CHECKED = 20


class SearchIndexConfig(Frozen):
    """The maximum length of a passage in characters, and the version of SQLite, on which the file's bytes depend.

    segment_files: files of the corpus in each segment; None: one index of all.
    """

    passage_characters: int
    sqlite: str
    segment_files: Annotated[int | None, OMITTED_IF_NONE] = None


def search_index_config(recipe: Any, crawl: str | None) -> SearchIndexConfig:
    return SearchIndexConfig(**recipe.search_index.model_dump(), sqlite=sqlite3.sqlite_version)


def indexed_pages(inputs: Inputs) -> CorpusPages:
    """The pages that are indexed: the current version of each, from every crawl among the inputs."""
    return CorpusPages(inputs, PAGE_VERSIONS if PAGE_VERSIONS in inputs else TRAINING_PAGES)


def build_search_index(step: Step, config: SearchIndexConfig) -> None:
    """The index over the passages of the current pages, in the order of the corpus: one task, or one per segment."""
    pages, size = indexed_pages(step.inputs), config.segment_files
    files = range(len(pages.files))
    if size is None:
        step.progress.start(len(files), "files")
        index_task(step.staging, "index", pages, config.passage_characters, step.progress.advance)
        return
    tasks = {
        f"{SEGMENT}{number:05d}": (pages.only(files[first : first + size]), config.passage_characters)
        for number, first in enumerate(range(0, max(len(files), 1), size))
    }
    step.run_tasks(index_task, tasks, "segments")


def index_task(
    staging: Path,
    name: str,
    pages: CorpusPages,
    characters: int,
    report: Callable[[int], None] = lambda done: None,
) -> None:
    """Write an index of pages. report: called after each file with the number of files that are indexed."""
    counts = {"documents": 0, "bytes": 0}

    def passage_rows() -> Iterator[tuple[str, str]]:
        for number in range(len(pages.files)):
            for batch in pages.file_batches(number, ["url", "text"]):
                for url, text in batch.iter_rows():
                    counts["documents"] += 1
                    counts["bytes"] += len(text.encode())
                    for passage in split_passages(text, characters):
                        yield url, passage
            report(number + 1)

    file = f"{name}.sqlite"
    with Task(staging, name) as task:
        temporary = staging / f".{file}.{os.getpid()}.tmp"
        passage_count = write_index(temporary, passage_rows())
        os.replace(temporary, staging / file)
        task.add_file(file)
        task.stats.update(**counts, passages=passage_count, index_bytes=(staging / file).stat().st_size)


def finds_itself(index: Artifact, inputs: Inputs, config: SearchIndexConfig) -> CheckOutcome:
    """Whether pages are found by their own words.

    Pages are taken from all over the corpus. A search for the words of a page's longest passage must return that
    passage among the first results. For all of them: many pages may begin with the same twenty.
    """
    search = SearchIndex(index_path(index))
    documents = max(index.record.stats["documents"], 1)
    missed_pages: list[dict[str, Any]] = []
    searched = 0
    pages = indexed_pages(inputs)
    # Evenly spaced files, so that the number of searches does not grow with theirs.
    for number in range(0, len(pages.files), max(1, len(pages.files) // PAGES_CHECKED)):
        path, _ = pages.files[number]
        pages_of_file = max(1, round(PAGES_CHECKED * row_count(path) / documents))
        batch = next(pages.file_batches(number, ["url", "text"]), None)
        for url, text in batch.head(pages_of_file).iter_rows() if batch is not None else ():
            longest = max(split_passages(text, config.passage_characters), key=len, default="")
            query = " ".join(re.findall(r"\w+", longest))
            if query:
                searched += 1
                if longest not in {passage.text for passage in search.search(query, RESULTS_CHECKED)}:
                    missed_pages.append({"url": url, "query": query})
    pages_found = searched - len(missed_pages)
    summary = f"{pages_found} of {searched} pages are found by their own words"
    numbers = {"pages_searched": searched, "pages_found": pages_found}
    return CheckOutcome(not missed_pages, summary, missed_pages[:20], numbers)


SEARCH_INDEX = Stage(
    name="search_index",
    group="finetuning",
    description="Full-text index over the current pages of every crawl, for the assistant's search tool.",
    kinds=("sqlite",),
    build=build_search_index,
    config=search_index_config,
    code_version="1",
    inputs=("clean_corpus", PAGE_VERSIONS),
    checks=(
        Check(
            "search_finds_pages",
            "Pages of the corpus are found by their own words.",
            finds_itself,
            blocking=True,
            code_version="3",
        ),
    ),
    libraries=("pyarrow",),
)
TRAINING_SEARCH_INDEX = replace(
    SEARCH_INDEX,
    name="training_search_index",
    description="The same index over the crawls that models are trained on. The assistant searches it in training and "
    "evaluation, so a re-crawl that no model is trained on does not change the assistant.",
    inputs=("clean_corpus", TRAINING_PAGES),
    optional_inputs=("clean_corpus", TRAINING_PAGES),
    crawls=lambda recipe: recipe.trained_crawls(),
)
