"""A clean corpus of pages that a test writes, so that the stages downstream can be built without the web."""

from __future__ import annotations

import random
from hashlib import blake2b
from pathlib import Path

import pandera.polars as pa
import polars as pl

from llm_assets.artifacts import Graph, Stage, Store, Workspace, materialize
from llm_assets.compute import LocalEngine
from llm_assets.recipes import Compute, Model, Pretraining, Recipe, SampleWeb, Tokenizer, TokenShards
from llm_assets.sample_web import prose, world
from tests.support.stand_ins import ALL_CURRENT

PEOPLE = world.make_world(1).people
# The host and the text of each page, by crawl; a test fills it.
PAGES: dict[str, list[tuple[str, str]]] = {}


class Page(pa.DataFrameModel):
    doc_id: str
    url: str
    host: str
    crawl: str
    warc_file: str
    warc_offset: pl.Int64
    text: str


def texts(count: int, seed: int = 0) -> list[str]:
    """Different English texts of some hundred characters."""
    return [
        " ".join(prose.portrait(random.Random(f"{seed}-{n}-{k}"), PEOPLE[n % 40], 2) for k in range(2))
        for n in range(count)
    ]


def build_written(step, config) -> None:
    pages = PAGES[step.partition]
    with step.task("a.warc.gz") as task:
        table = task.table("text", Page)
        for place, (host, text) in enumerate(pages):
            url = f"https://{host}/{place}"
            table.append(
                {
                    "doc_id": blake2b(url.encode(), digest_size=12).hexdigest(),
                    "url": url,
                    "host": host,
                    "crawl": step.partition,
                    "warc_file": "a.warc.gz",
                    "warc_offset": place,
                    "text": text,
                }
            )
        task.stats["text_bytes"] = sum(len(text.encode()) for _, text in pages)


WRITTEN = Stage(
    "clean_corpus", "curation", "Pages of a test.", build_written, "1", per_crawl=True, tables={"text": Page}
)


def small_recipe(**changes) -> Recipe:
    """One crawl, a small vocabulary, a model that trains in seconds on a CPU."""
    fields = {
        "name": "small",
        "crawls": {"sample": SampleWeb()},
        "tokenizer": Tokenizer(vocabulary=400),
        "token_shards": TokenShards(shard_tokens=4096, validation_share=0.2),
        "model": Model(depth=1, width=32, context=64),
        "pretraining": Pretraining(
            tokens=4096,
            batch_tokens=256,
            validation_runs=1,
            validation_tokens=512,
            samples=0,
            compute=Compute(device="cpu", processes=1),
        ),
    }
    return Recipe(**{**fields, **changes})


def workspace(store: Path, recipe: Recipe, *stages: Stage) -> Workspace:
    return Workspace(recipe, Store(store), Graph([WRITTEN, ALL_CURRENT, *stages]), LocalEngine(1))


def build(space: Workspace, *names: str):
    """Build these assets for every crawl of the recipe; the outcome of the last."""
    for name in names:
        stage = space.graph[name]
        for crawl in space.recipe.corpus() if stage.per_crawl else [None]:
            outcome = materialize(stage, crawl, space)
    return outcome
