"""The jobs: `crawl`, everything of one crawl that needs no other; `model`, everything behind; `everything`, both."""

from typing import Any

import dagster as dg

from llm_assets.artifacts import Graph

CRAWL, MODEL, ALL = "crawl", "model", "everything"


def crawl_assets(graph: Graph) -> list[str]:
    """Per-crawl assets that need no other crawl, and the assets without a partition that those read."""
    chosen = {stage.name for stage in graph if stage.per_crawl and not graph.spans_crawls(stage.name)}
    read = {name for one in chosen for name in graph[one].inputs}
    return [stage.name for stage in graph if stage.name in chosen or (stage.name in read and not stage.per_crawl)]


def shard_assets(graph: Graph) -> list[str]:
    """Per-crawl assets that need every crawl (token shards), and what lies between and has no partition (the tokenizer)."""
    crawl = set(crawl_assets(graph))
    chosen = {stage.name for stage in graph if stage.per_crawl and stage.name not in crawl}
    front = list(chosen)
    while front:
        further = [name for name in graph[front.pop()].inputs if name not in crawl and name not in chosen]
        chosen.update(further)
        front += further
    return [stage.name for stage in graph if stage.name in chosen]


def make_jobs(graph: Graph) -> list[Any]:
    """The jobs of a graph."""
    crawl = dg.AssetSelection.assets(*crawl_assets(graph))
    return [
        dg.define_asset_job(CRAWL, crawl, description="Everything of one crawl, from its pages to its clean corpus."),
        dg.define_asset_job(
            MODEL,
            dg.AssetSelection.all() - crawl,
            description="Everything behind the corpus: tokens, models, evaluations, exports.",
        ),
        dg.define_asset_job(ALL, dg.AssetSelection.all(), description="The whole graph for one crawl."),
    ]
