"""The jobs: `crawl` builds what needs one crawl alone, `model` everything downstream, `everything` both."""

from typing import Any

import dagster as dg

from llm_assets.artifacts import Graph

CRAWL_JOB, MODEL_JOB, EVERYTHING_JOB = "crawl", "model", "everything"


def crawl_assets(graph: Graph) -> list[str]:
    """Per-crawl assets that need no other crawl, and the assets without partitions that they read."""
    chosen = {stage.name for stage in graph if stage.per_crawl and not graph.spans_crawls(stage.name)}
    read = {source for name in chosen for source in graph[name].inputs}
    return [stage.name for stage in graph if stage.name in chosen or (stage.name in read and not stage.per_crawl)]


def shard_assets(graph: Graph) -> list[str]:
    """Per-crawl assets that need all crawls (token shards), and upstream assets without partitions (the tokenizer)."""
    crawl = set(crawl_assets(graph))
    chosen = {stage.name for stage in graph if stage.per_crawl and stage.name not in crawl}
    front = list(chosen)
    while front:
        upstream = [name for name in graph[front.pop()].inputs if name not in crawl and name not in chosen]
        chosen.update(upstream)
        front += upstream
    return [stage.name for stage in graph if stage.name in chosen]


def make_jobs(graph: Graph) -> list[Any]:
    """The jobs of a graph: `crawl`, `model` and `everything`."""
    crawl = dg.AssetSelection.assets(*crawl_assets(graph))
    return [
        dg.define_asset_job(CRAWL_JOB, crawl, description="Builds one crawl, from its pages to its clean corpus."),
        dg.define_asset_job(
            MODEL_JOB,
            dg.AssetSelection.all() - crawl,
            description="Builds everything downstream of the corpus: tokens, models, evaluations, exports.",
        ),
        dg.define_asset_job(
            EVERYTHING_JOB, dg.AssetSelection.all(), description="Builds the whole graph for one crawl."
        ),
    ]
