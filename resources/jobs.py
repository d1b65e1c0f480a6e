"""The jobs: `crawl` builds what needs one crawl alone, `model` everything downstream, `everything` both.

None of them builds a stage that is built on demand; the job `on_demand` builds all of these, and nothing else. None
builds a stage that the recipe leaves out.
"""

from typing import Any

import dagster as dg

from llm_assets.artifacts import Graph

CRAWL_JOB, MODEL_JOB, EVERYTHING_JOB, ON_DEMAND_JOB = "crawl", "model", "everything", "on_demand"


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


def on_demand_assets(graph: Graph, recipe: Any) -> list[str]:
    """Assets that are built only when they are selected, upstream first."""
    on_demand = graph.on_demand(recipe)
    return [stage.name for stage in graph if stage.name in on_demand]


def make_jobs(graph: Graph, recipe: Any = None) -> list[Any]:
    """The jobs of a graph: `crawl`, `model`, `everything`, and `on_demand` if a stage is built on demand.

    recipe: the recipe whose left out stages no job builds; None leaves none out.
    """
    left_out = graph.left_out(recipe) if recipe is not None else {}
    crawl = dg.AssetSelection.assets(*crawl_assets(graph))
    on_demand = [name for name in on_demand_assets(graph, recipe) if name not in left_out]
    default = (stage.name for stage in graph if stage.name not in on_demand and stage.name not in left_out)
    everything = dg.AssetSelection.assets(*default)
    jobs = [
        dg.define_asset_job(CRAWL_JOB, crawl, description="Builds one crawl, from its pages to its clean corpus."),
        dg.define_asset_job(
            MODEL_JOB,
            everything - crawl,
            description="Builds everything downstream of the corpus: tokens, models, evaluations, exports.",
        ),
        dg.define_asset_job(EVERYTHING_JOB, everything, description="Builds the whole graph for one crawl."),
    ]
    if on_demand:
        description = "Builds the assets that the other jobs leave out, such as the demonstrations."
        jobs.append(dg.define_asset_job(ON_DEMAND_JOB, dg.AssetSelection.assets(*on_demand), description=description))
    return jobs
