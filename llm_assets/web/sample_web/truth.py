"""The ground truth of the sample web, as tables beside its WARC files."""

from __future__ import annotations

import json

import pandera.polars as pa
import polars as pl

from llm_assets.artifacts.step import Step
from llm_assets.recipes import SampleWeb

from .pages import make_web


class TruthPages(pa.DataFrameModel):
    """One row a URL of the sample web (see pages.Page). `in_crawl`: the training crawl should hold an answer for it."""

    url: str = pa.Field(unique=True)
    kind: str
    status: pl.Int16
    verdict: str
    language: str
    encoding: str
    title: str
    text: str
    defects: str = pa.Field(description="JSON list")
    duplicate_of: str
    pii: str = pa.Field(description="JSON object: type → number planted")
    entities: str = pa.Field(description="JSON list of names the page tells about")
    in_crawl: bool


class TruthFacts(pa.DataFrameModel):
    """One row a fact of the world. reach: many, once (one page), held_out (only on the site kept out of training)."""

    entity: str
    entity_kind: str
    relation: str
    value: str
    reach: str = pa.Field(isin=["many", "once", "held_out"])
    pages: pl.Int64 = pa.Field(ge=0)


def truth_pages(source: SampleWeb) -> pl.DataFrame:
    """The table of pages."""
    web = make_web(source.seed, source.scale, source.day)
    rows = [
        {
            "url": page.url, "kind": page.kind, "status": page.status, "verdict": page.verdict, "language": page.language,
            "encoding": page.encoding, "title": page.title, "text": page.text, "defects": json.dumps(page.defects), "duplicate_of": page.duplicate_of,
            "pii": json.dumps(page.pii, sort_keys=True), "entities": json.dumps(page.entities), "in_crawl": page.in_crawl,
        }
        for _, page in sorted(web.pages.items())
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"status": pl.Int16})


def truth_facts(source: SampleWeb) -> pl.DataFrame:
    """The table of facts."""
    web = make_web(source.seed, source.scale, source.day)
    return pl.DataFrame([{"entity": f.entity, "entity_kind": f.entity_kind, "relation": f.relation, "value": f.value, "reach": reach, "pages": pages} for f, reach, pages in web.facts])


def write_ground_truth(step: Step, source: SampleWeb) -> None:
    """Write ``truth_pages`` and ``truth_facts`` into the crawl's artifact."""
    if step.finished("truth") is None:
        with step.part("truth") as part:
            part.table("truth_pages", TruthPages).frame(truth_pages(source))
            part.table("truth_facts", TruthFacts).frame(truth_facts(source))
