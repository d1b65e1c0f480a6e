"""Stages that stand in for others: they write the rows and files of a test, so that it can build one stage alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from llm_assets.artifacts import Graph, Stage, Store, Workspace, materialize
from llm_assets.compute import LocalEngine


def stand_in(
    name: str,
    tables: Mapping[str, pl.DataFrame | Sequence[dict]] | None = None,
    stats: Mapping | None = None,
    write: Callable[[Path], None] | None = None,
    per_crawl: bool = False,
) -> Stage:
    """A stage without inputs that writes these tables and stats. write: writes further files into a folder."""

    def build(step, config):
        with step.task(name) as task:
            for table, rows in (tables or {}).items():
                (step.staging / table).mkdir()
                pl.DataFrame(rows).write_parquet(step.staging / table / f"{name}.parquet")
                task.add_file(f"{table}/{name}.parquet")
            before = set(step.staging.iterdir())
            if write is not None:
                write(step.staging)
            for path in sorted(set(step.staging.iterdir()) - before):
                task.add_file(path.name)
            task.stats.update(stats or {})

    return Stage(name, "test", "Stands in for another.", build, "1", per_crawl=per_crawl)


def clean_corpus(pages: Sequence[dict]) -> Stage:
    """A clean corpus of these pages, with their positions in a WARC file."""
    places = ({"warc_file": "clean_corpus", "warc_offset": number} for number in range(len(pages)))
    rows = [{**page, **place} for page, place in zip(pages, places, strict=True)]
    return stand_in("clean_corpus", {"text": rows}, per_crawl=True)


def build_current(step, config):
    """Mark every page of the clean corpora as the current version."""
    for crawl, corpus in step.inputs.by_crawl("clean_corpus").items():
        pages = [pl.read_parquet(path, columns=["warc_file", "warc_offset"]) for path in corpus.table("text")]
        frame = pl.concat(pages) if pages else pl.DataFrame(schema={"warc_file": pl.String, "warc_offset": pl.Int64})
        with step.task(crawl) as task:
            frame = frame.with_columns(state=pl.lit("current"), in_corpus=pl.lit(True))
            for table in ("pages", "versions"):  # of training_pages and of page_versions
                (step.staging / table).mkdir(exist_ok=True)
                frame.write_parquet(step.staging / table / f"{crawl}.parquet")
                task.add_file(f"{table}/{crawl}.parquet")


ALL_CURRENT = Stage(
    "training_pages",
    "test",
    "Stands in for another.",
    build_current,
    "1",
    inputs=("clean_corpus",),
    crawls=lambda recipe: recipe.trained_crawls(),
)


def build_all(stages: Sequence[Stage], recipe, root: Path) -> tuple[Workspace, dict]:
    """Build these stages; their workspace, and their artifacts by key."""
    workspace = Workspace(recipe, Store(root), Graph(list(stages)), LocalEngine(1))
    outcomes = [
        materialize(stage, crawl, workspace)
        for stage in stages
        for crawl in (recipe.corpus() if stage.per_crawl else [None])
    ]
    return workspace, {outcome.artifact.record.key: outcome.artifact for outcome in outcomes}
