"""`page_versions`: for every page of all crawls, which version is current, and what became of the others.

`training_pages` holds the current pages of the crawls that models are trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import NoConfig, Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import INDEX_ROWS, polars_schema, scan_table
from llm_assets.sql import query, statement, stream

from .schemas import PageVersions, TrainingPage

IS_CURRENT = (pl.col("state") == "current") & pl.col("in_corpus")


def continued_crawls(crawls: Mapping[str, Artifact]) -> dict[str, str]:
    """For each crawl (with its `raw_warc`), the latest of the others that it continues, directly or through a chain.

    Among the inputs of a crawl's artifact is every crawl of its chain, oldest first. Crawls that continue none of the
    others are left out.
    """
    continued = {}
    for crawl, raw_warc in crawls.items():
        inputs = raw_warc.record.fields["inputs"]
        chain = [key.partition("/")[2] for key in inputs if key.startswith("raw_warc/")]
        chain_lengths = {name: len(crawls[name].record.fields["inputs"]) for name in chain if name in crawls}
        if chain_lengths:
            continued[crawl] = max(chain_lengths, key=lambda name: (chain_lengths[name], name))
    return continued


def in_order(crawls: Mapping[str, Artifact]) -> dict[str, str]:
    """The crawls, each after the one that it continues, with the earliest time that its captures can have.

    That is the time of the newest capture of the crawl that it continues, since clocks of machines may run backwards.
    """
    continued = continued_crawls(crawls)
    newest = {}
    for crawl, raw_warc in crawls.items():
        times = [_newest(path) for path in raw_warc.table("captures")]
        newest[crawl] = max((time for time in times if time), default="")
    floors: dict[str, str] = {}

    def floor(crawl: str) -> str:
        if crawl not in floors:
            previous = continued.get(crawl)
            floors[crawl] = "" if previous is None else max(newest[previous], floor(previous))
        return floors[crawl]

    def depth(crawl: str) -> int:
        return 0 if crawl not in continued else 1 + depth(continued[crawl])

    return {crawl: floor(crawl) for crawl in sorted(crawls, key=lambda name: (depth(name), name))}


def _newest(captures: Path) -> str | None:
    """Time of the newest capture of an index file."""
    return scan_table(captures).select(pl.col("fetched_at").max()).collect().item()


def find_versions(inputs: Inputs) -> Iterator[tuple[str, Iterator[pl.DataFrame]]]:
    """For each crawl among the inputs, by name, the versions that are located in it (schema PageVersions).

    DuckDB sorts them by place, and spills what exceeds its memory limit; they are read as they come.
    """
    order = in_order(inputs.by_crawl("raw_warc"))
    files = {
        "captures": ("raw_warc", "captures"),
        "texts": ("extracted_text", "text"),
        "rejects": ("filtered_urls", "rejects"),
        "corpus": ("clean_corpus", "text"),
    }
    paths = {
        name: [path for artifact in inputs.by_crawl(asset).values() for path in artifact.table(table)]
        for name, (asset, table) in files.items()
    }
    parameters = {"crawls": list(order), "floors": list(order.values()), **paths}
    frames = stream(statement("page_versions"), INDEX_ROWS, **parameters)
    by_crawl = groupby(
        (part for frame in frames for part in frame.partition_by("crawl", maintain_order=True)),
        lambda frame: frame["crawl"][0],
    )
    following = next(by_crawl, None)
    for crawl in sorted(order):
        if following is not None and following[0] == crawl:
            yield following
            following = next(by_crawl, None)
        else:
            yield crawl, iter(())


def build_page_versions(step: Step, config: NoConfig) -> None:
    """One task per crawl: the versions that are located in it."""
    for crawl, frames in find_versions(step.inputs):
        with step.task(crawl) as task:
            states: Counter[str] = Counter()
            pages_in_corpus = 0
            for frame in task.table("versions", PageVersions).frames(frames):
                states.update(dict(frame.group_by("state").len().iter_rows()))
                pages_in_corpus += len(frame.filter(IS_CURRENT))
            task.stats.update(states=dict(sorted(states.items())), pages_in_corpus=pages_in_corpus)


def none_lost(versions: Artifact, inputs: Inputs, config: NoConfig) -> CheckOutcome:
    """Check that every page of the clean corpora is read, or is known to be no longer current.

    A page is accounted for if it is a version itself, or if another capture of its URL is read.
    """
    corpora = [path for corpus in inputs.by_crawl("clean_corpus").values() for path in corpus.table("text")]
    files = {"versions": versions.table("versions"), "corpus": corpora}
    problems = {row["problem"]: row for row in query(statement("unread_pages"), **files).to_dicts()}
    counts = {problem.replace(" ", "_"): row["pages"] for problem, row in problems.items()}
    counts = {"lost": 0, "read_twice": 0} | counts
    states = scan_table(files["versions"]).group_by("state", "in_corpus").len().collect(engine="streaming")
    read = states.filter(IS_CURRENT)["len"].sum()
    by_state = states.group_by("state").agg(pl.col("len").sum()).sort("state")
    numbers = {"read": read, **counts, **dict(by_state.iter_rows())}
    summary = f"{read:,} pages of the corpus are current"
    if any(counts.values()):
        summary += f"; {counts['lost']:,} are lost and {counts['read_twice']:,} are read twice"
    failures = [{"url": url} for _, row in sorted(problems.items()) for url in row["urls"]][:20]
    return CheckOutcome(not failures, summary, failures, numbers)


def show_versions(versions: Artifact) -> dict[str, str]:
    """How many versions are in each state, in Markdown."""
    lines = ["| state | versions |", "|---|--:|"]
    lines += [f"| {state} | {count:,} |" for state, count in versions.record.stats["states"].items()]
    return {"summary": "\n".join([*lines, "", f"{versions.record.stats['pages_in_corpus']:,} pages in the corpus"])}


PAGE_VERSIONS = Stage(
    name="page_versions",
    group="curation",
    description="Every page of all crawls over time: which version is current, superseded, vanished, moved or taken "
    "down.",
    kinds=("duckdb", "parquet"),
    build=build_page_versions,
    code_version="1",
    inputs=("raw_warc", "filtered_urls", "extracted_text", "clean_corpus"),
    tables={"versions": PageVersions},
    main_table="versions",
    checks=(
        Check(
            "no_page_is_lost",
            "Every page of the corpus is read exactly once, or is no longer current.",
            none_lost,
            blocking=True,
        ),
    ),
    show=show_versions,
    libraries=("duckdb", "polars"),
)


def build_training_pages(step: Step, config: NoConfig) -> None:
    """One task per crawl.

    The table has no column that could change while its pages do not, since its data version is an input of the models.
    """
    columns = list(polars_schema(TrainingPage))
    for crawl, frames in find_versions(step.inputs):
        with step.task(crawl) as task:
            current = (frame.filter(IS_CURRENT).select(columns) for frame in frames)
            task.stats["pages"] = sum(map(len, task.table("pages", TrainingPage).frames(current)))


TRAINING_PAGES = Stage(
    name="training_pages",
    group="curation",
    description="The current pages of the crawls that models are trained on. Models learn from these pages or find "
    "them by search, whatever has been crawled since.",
    kinds=("duckdb", "parquet"),
    build=build_training_pages,
    code_version="1",
    inputs=PAGE_VERSIONS.inputs,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"pages": TrainingPage},
    main_table="pages",
    libraries=("duckdb", "polars"),
)
