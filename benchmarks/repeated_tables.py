"""Large corpora for benchmarks of what reads many files: the tables of a built crawl, repeated with changed pages.

Every repetition is a set of WARC files of its own: hosts, identifiers, texts and signatures differ from those of the
others, so that nothing is a duplicate of a page in another repetition, and within each the same pages are.
"""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl

from llm_assets.artifacts import Graph, Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.graph import GRAPH

# Stages whose tables are repeated: each of their files is made from one WARC file.
REPEATED = (
    "raw_warc",
    "filtered_urls",
    "extracted_text",
    "language_filtered_text",
    "quality_filtered_text",
    "text_signatures",
    "clean_corpus",
)
# Stages that read the files of a crawl together, in their order.
TOGETHER = ("deduplicated_text", "reject_ledger", "page_versions", "corpus_report", "tokenizer", "token_shards")


def repeated_graph(artifacts: dict[str, Artifact], times: int) -> Graph:
    """A graph of the real stages that read many files, over `times` repetitions of a crawl's artifacts, by asset."""
    stages = []
    for stage in GRAPH:
        if stage.name in REPEATED:
            stages.append(_repeated(stage, artifacts[stage.name], times))
        elif stage.name in (*TOGETHER, "training_pages", "search_index"):
            stages.append(stage)
    return Graph(stages)


def _repeated(stage: Stage, artifact: Artifact, times: int) -> Stage:
    def build(step: Step, config: Any) -> None:
        tables = {**stage.tables, **stage.optional_tables}
        for number in range(times):
            for stem in sorted({path.stem for table in tables for path in artifact.table(table)}):
                with step.task(f"{number:03d}-{stem}") as task:
                    for table, schema in tables.items():
                        for path in artifact.table(table):
                            if path.stem == stem:
                                task.table(table, schema).frame(changed(read_table(path), number))
        with step.task("stats") as task:
            task.stats.update(_multiplied(artifact.record.stats, times))

    fields = {name: getattr(stage, name) for name in ("name", "group", "tables", "optional_tables", "main_table")}
    return Stage(description="Repeated.", build=build, code_version="1", per_crawl=True, checks=stage.checks, **fields)


def changed(rows: pl.DataFrame, number: int) -> pl.DataFrame:
    """The rows of a table as those of repetition `number`."""
    changes: dict[str, pl.Expr] = {}
    if "doc_id" in rows.columns:
        ids = [hashlib.sha256(f"{number} {doc_id}".encode()).hexdigest()[:24] for doc_id in rows["doc_id"]]
        changes["doc_id"] = pl.Series(ids, dtype=pl.String)
    for column in ("url", "final_url", "location"):
        if column in rows.columns:
            changes[column] = pl.col(column).str.replace("://", f"://r{number}.", literal=True)
    if "host" in rows.columns:
        changes["host"] = pl.format(f"r{number}.{{}}", "host")
    if "warc_file" in rows.columns:
        changes["warc_file"] = pl.format(f"{number:03d}-{{}}", "warc_file")
    if "text" in rows.columns:
        changes["text"] = pl.format(f"{{}}\nRepetition {number}.", "text")
    if "payload_digest" in rows.columns:
        changes["payload_digest"] = pl.format(f"{{}}-{number}", "payload_digest")
    mask = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:8], "big")
    if "digest" in rows.columns:
        changes["digest"] = pl.col("digest") ^ pl.lit(mask, pl.UInt64)
    if "bands" in rows.columns:
        changes["bands"] = pl.col("bands").list.eval(pl.element() ^ pl.lit(mask, pl.UInt64))
    return rows.with_columns(**changes)


def _multiplied(stats: dict[str, Any], times: int) -> dict[str, Any]:
    """Stats of all repetitions together."""
    numbers = {name: value * times for name, value in stats.items() if isinstance(value, (int, float))}
    nested = {name: _multiplied(value, times) for name, value in stats.items() if isinstance(value, dict)}
    return {**stats, **numbers, **nested}
