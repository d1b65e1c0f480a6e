"""Contamination: items of benchmarks whose words are also in a row on a page that the models were trained on."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import polars_schema, read_table
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.evaluation.overlap import Phrases
from llm_assets.recipes.training_pages import TrainingPages

from .schemas import BenchmarkOverlaps

OVERLAPS = "overlaps"


def find_overlaps(step: Step, texts: dict[str, list[str]], run: int, pages: TrainingPages) -> pl.DataFrame | None:
    """For each item, the first page that overlaps with it (schema BenchmarkOverlaps); None without a corpus.

    An item overlaps with a page that has `run` of its words in a row, or all of them if it has fewer. Every file of the
    corpus is a task of the step. texts: what the items ask, by task of the harness.
    """
    if TRAINING_PAGES not in step.inputs or not step.inputs.by_crawl("clean_corpus"):
        return None
    corpus = CorpusPages(step.inputs, TRAINING_PAGES, pages)
    with step.task("items") as task:
        items = task.add_scratch("items.json")
        items.write_text(json.dumps(texts))
    names = [f"corpus-{number:05d}" for number in range(len(corpus.files))]
    step.run_tasks(search_file, {name: (corpus.only([number]), items, run) for number, name in enumerate(names)})
    step.fetch(f"{OVERLAPS}/")
    files = [step.staging / OVERLAPS / f"{name}.parquet" for name in names]
    rows = pl.DataFrame(schema=polars_schema(BenchmarkOverlaps))
    for file in files:  # a row per item, however many files it is in
        rows = pl.concat([rows, read_table(file)]).unique(["task", "item"], keep="first", maintain_order=True)
    return rows


def search_file(staging: Path, name: str, corpus: CorpusPages, items: Path, run: int) -> None:
    """Search the pages of one file of the corpus for all items, and keep the first page of each."""
    phrases, first = item_phrases(items, run), {}
    for batch in corpus.batches(["url", "text"]):
        for url, text in batch.iter_rows():
            for owner, shared in phrases.find_all(text).items():
                first.setdefault(owner, (url, shared))
    rows: list[dict[str, Any]] = []
    for owner, (url, shared) in first.items():
        task, _, item = owner.rpartition(" ")
        rows.append({"task": task, "item": int(item), "url": url, "shared": shared})
    with Task(staging, name) as part:
        part.table(OVERLAPS, BenchmarkOverlaps).frame(pl.DataFrame(rows, schema=polars_schema(BenchmarkOverlaps)))


@lru_cache(maxsize=1)
def item_phrases(path: Path, run: int) -> Phrases:
    """The runs of words of all items; a worker reads them once for all files of the corpus."""
    phrases = Phrases()
    for task, texts in json.loads(path.read_text()).items():
        for item, text in enumerate(texts):
            phrases.add_question(text, f"{task} {item}", run)
    return phrases
