"""One crawl built up to its corpus, with every capture accounted for."""

import polars as pl

from llm_assets.artifacts.checks import check_schemas
from llm_assets.curation.ledger import FINAL_TABLE, imbalance
from llm_assets.recipes import Recipe, WarcFiles
from tests.support.building import build
from tests.support.small_recipe import CORPUS

TEXT = (
    b"<html><body><p>" + b"A sentence about the harbour, long enough to be kept by anyone. " * 3 + b"</p></body></html>"
)


def warc_crawl(path, **fields) -> Recipe:
    """A recipe of one crawl `c` of the WARC files at `path`."""
    return Recipe(name="t", crawls={"c": WarcFiles(path=str(path))}, **fields)


def build_crawl(recipe, crawl="c", workers=1, stages=CORPUS):
    """Build the stages for one crawl; the artifacts by asset name.

    Asserts that captures = kept + rejected, page by page, and that every table fits its schema.
    """
    artifacts = {artifact.record.asset: artifact for artifact in build(recipe, stages, (crawl,), workers).values()}
    unaccounted = imbalance(artifacts["raw_warc"], artifacts[FINAL_TABLE[0]], artifacts["reject_ledger"])
    assert unaccounted.is_empty(), unaccounted
    stats = artifacts["reject_ledger"].record.stats
    assert stats["kept"] + stats["rejected"] == stats["captures"] == artifacts["raw_warc"].record.rows["captures"]
    for stage in stages:
        outcome = check_schemas(stage, artifacts[stage.name])
        assert outcome.passed, outcome.summary
    return artifacts


def rejects(artifacts) -> pl.DataFrame:
    """All rejects of a crawl."""
    return pl.concat([pl.read_parquet(path) for path in artifacts["reject_ledger"].table("rejects")])
