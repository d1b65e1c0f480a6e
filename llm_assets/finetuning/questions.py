"""Questions to interrogate a model with: the crawl's own, as a table of topics in several wordings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from llm_assets.sample_web import newest

from .dialogues import Topic

COLUMNS = ("entity", "entity_kind", "relation", "reach", "question", "evaluation_only", "answer", "sentence")


def read_questions(files: Iterable[Path]) -> pl.DataFrame:
    """Questions of the crawls that come with their truth; an empty frame where none does."""
    frames = [pl.read_parquet(path) for path in files]
    if not frames:
        return pl.DataFrame(schema={name: pl.Boolean if name == "evaluation_only" else pl.String for name in COLUMNS})
    return newest(frames).select(COLUMNS)


def to_topics(frame: pl.DataFrame) -> list[tuple[Topic, list[str]]]:
    """Topics in the order of the table, each with the wordings that are kept for evaluation."""
    found: dict[tuple[str, str, str], tuple[dict[str, str], list[str], list[str]]] = {}
    for row in frame.iter_rows(named=True):
        key = (row["entity"], row["relation"], row["answer"])
        _, asked, kept = found.setdefault(key, (row, [], []))
        (kept if row["evaluation_only"] else asked).append(row["question"])
    return [
        (Topic(row["entity"], row["entity_kind"], row["relation"], tuple(asked), row["answer"], row["sentence"]), kept)
        for row, asked, kept in found.values()
        if asked
    ]
