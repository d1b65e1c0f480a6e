"""`reject_ledger`: every rejected page, and the proof that no capture was lost or counted twice."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import NoConfig, Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import row_count
from llm_assets.compute import LocalEngine
from llm_assets.sql import query, statement

from .rejects import count_rules
from .schemas import Rejects

# The stages that reject pages, in order. The last one's table holds the pages that are kept.
STAGES = (
    "filtered_urls",
    "extracted_text",
    "language_filtered_text",
    "quality_filtered_text",
    "deduplicated_text",
    "clean_corpus",
)
FINAL_TABLE = ("clean_corpus", "text")
SHOWN = 20  # captures that are not accounted for, as in sql/balance.sql


def ledger_task(staging: Path, name: str, rejects: list[Path], captures: int, kept_pages: int) -> None:
    """Join the rejects of one WARC file."""
    with Task(staging, name) as task:
        rows = query(statement("ledger"), rejects=rejects)
        task.table("rejects", Rejects).frame(rows)
        by_stage = {stage: count_rules(group) for (stage,), group in sorted(rows.group_by("stage"))}
        task.stats.update(pages=captures, captures=captures, kept=kept_pages, rejected=len(rows), rejects=by_stage)


def build_reject_ledger(step: Step, config: NoConfig) -> None:
    """One task per WARC file, in this process, since DuckDB uses all cores by itself."""
    corpus = {path.stem: path for path in step.input(FINAL_TABLE[0]).table(FINAL_TABLE[1])}
    rejects: dict[str, list[Path]] = {}
    for stage in STAGES:
        for path in step.input(stage).table("rejects"):
            rejects.setdefault(path.stem, []).append(path)
    tasks = {
        path.stem: (rejects[path.stem], row_count(path), row_count(corpus[path.stem]))
        for path in step.input("raw_warc").table("captures")
    }
    step.run_tasks(ledger_task, tasks, "WARC files", engine=LocalEngine(1))


def imbalance(raw_warc: Artifact, corpus: Artifact, ledger: Artifact) -> pl.DataFrame:
    """Captures that are not accounted for exactly once (up to 20). An empty frame is the proof that there are none."""
    tables = {
        "captures": raw_warc.table("captures"),
        "kept": corpus.table(FINAL_TABLE[1]),
        "rejects": ledger.table("rejects"),
    }
    by_file = [{path.stem: path for path in paths} for paths in tables.values()]
    stems = sorted({stem for paths in by_file for stem in paths})
    if any(len(paths) < len(stems) for paths in by_file):  # a file without rows in one of them has no name of its own
        return query(statement("balance"), **tables)
    # File by file, since all captures of a large crawl together exceed memory.
    unbalanced: list[pl.DataFrame] = []
    for stem in stems:
        of_file = {name: [paths[stem]] for name, paths in zip(tables, by_file, strict=True)}
        unbalanced.append(query(statement("balance"), **of_file))
        if sum(map(len, unbalanced)) >= SHOWN:
            break
    return pl.concat(unbalanced).head(SHOWN) if unbalanced else query(statement("balance"), **tables)


def balance(ledger: Artifact, inputs: Inputs, config: NoConfig) -> CheckOutcome:
    """Check that every capture is kept or rejected exactly once."""
    lost = imbalance(inputs.artifact("raw_warc"), inputs.artifact(FINAL_TABLE[0]), ledger)
    stats = ledger.record.stats
    equation = f"{stats['kept']:,} kept + {stats['rejected']:,} rejected = {stats['captures']:,} captures"
    passed = stats["kept"] + stats["rejected"] == stats["captures"] and lost.is_empty()
    summary = equation if passed else f"unbalanced: {equation}; {len(lost)} captures lost or counted twice"
    numbers = {name: stats[name] for name in ("kept", "rejected", "captures")}
    return CheckOutcome(passed, summary, lost.to_dicts(), numbers)


BALANCE = Check(
    "balance", "Every capture is kept or rejected exactly once: kept + rejected = captures.", balance, blocking=True
)

REJECT_LEDGER = Stage(
    name="reject_ledger",
    group="curation",
    description="Every rejected page: stage, rule, measured value and threshold.",
    kinds=("duckdb", "parquet"),
    build=build_reject_ledger,
    code_version="2",
    per_crawl=True,
    inputs=("raw_warc", *STAGES),
    tables={"rejects": Rejects},
    main_table="rejects",
    checks=(BALANCE,),
    libraries=("duckdb", "polars"),
)
