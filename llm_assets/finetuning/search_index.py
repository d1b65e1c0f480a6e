"""`search_index`: full-text search over the clean corpus, behind the assistant's search tool."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator

import pyarrow.parquet as pq

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import Recipe
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import INDEX, passages, write_index

BATCH_ROWS = 256


def build_search_index(step: Step, recipe: Recipe) -> None:
    """One part: the index over the passages of all crawls, in the corpus's order."""
    files = [path for crawl in recipe.corpus() for path in sorted(step.inputs[f"clean_corpus/{crawl}"].table("text"))]
    counts = {"documents": 0, "bytes": 0}
    step.progress.start(len(files), "files")

    def rows() -> Iterator[tuple[str, str]]:
        for number, path in enumerate(files):
            for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["url", "text"]):
                for url, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    counts["documents"] += 1
                    counts["bytes"] += len(text.encode())
                    for passage in passages(text, recipe.search_index.passage_characters):
                        yield url, passage
            step.progress.advance(number + 1)

    with step.part("index") as part:
        temporary = step.staging / f".{INDEX}.{os.getpid()}.tmp"
        found = write_index(temporary, rows())
        os.replace(temporary, step.staging / INDEX)
        part.add_file(INDEX)
        part.stats.update(**counts, passages=found, index_bytes=(step.staging / INDEX).stat().st_size)


def finds_itself(index: Artifact, corpus: list[Artifact], characters: int, pages: int = 50) -> CheckOutcome:
    """Whether pages are found by words of their own: of so many pages, spread over the corpus, the first words of the longest passage
    must bring it up among the first twenty.
    """
    search = SearchIndex(index.file(INDEX))
    files = [path for artifact in corpus for path in sorted(artifact.table("text"))]
    lost, asked = [], 0
    for path in files:
        held = pq.ParquetFile(path)
        take = max(1, round(pages * held.metadata.num_rows / max(index.record.stats["documents"], 1)))
        batch = next(held.iter_batches(take, columns=["url", "text"]), None)
        for url, text in zip(*(column.to_pylist() for column in batch.columns), strict=True) if batch else ():
            longest = max(passages(text, characters), key=len, default="")
            words = " ".join(re.findall(r"\w+", longest)[:20])
            if words:
                asked += 1
                if longest not in {passage.text for passage in search.search(words, 20)}:
                    lost.append({"url": url, "query": words})
    return CheckOutcome(not lost, f"{asked - len(lost)} of {asked} pages are found by words of their own", lost)


SEARCH_INDEX = Stage(
    name="search_index",
    build=build_search_index,
    code_version="1",
    rooms=("llm_assets.finetuning.search_index", "llm_assets.tools.search"),
    inputs=("clean_corpus",),
    # The file's bytes are SQLite's: another version may write others.
    literals=lambda recipe, _: {"search_index": recipe.search_index, "crawls": recipe.corpus(), "sqlite": sqlite3.sqlite_version},
    libraries=("pyarrow",),
)
