"""The documents of token shards that are trained on, of crawls with and without documents."""

from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets.artifacts.step import TableWriter
from llm_assets.artifacts.tables import polars_schema
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.tokens.schemas import TokenDocuments
from llm_assets.tracing.trace_index import training_documents
from llm_assets.training.documents import shard_documents


class Inputs:
    """Token shards of crawls by name, with these many documents each, of which every second one is current."""

    def __init__(self, folder, **documents):
        self.folder = folder
        (folder / "pages").mkdir()
        for crawl, number in documents.items():
            rows = pl.DataFrame([document(crawl, n) for n in range(number)], schema=polars_schema(TokenDocuments))
            writer = TableWriter(folder / f"{crawl}.parquet", TokenDocuments)
            writer.frame(rows[:2])
            writer.frame(rows[2:])
            writer.close()
            rows.gather_every(2).write_parquet(folder / "pages" / f"{crawl}.parquet")
        self.shards = {crawl: SimpleNamespace(table=self.tables_of(crawl)) for crawl in documents}

    def tables_of(self, crawl):
        return lambda name: [self.folder / f"{crawl}.parquet"]

    def by_crawl(self, name):
        return self.shards

    def artifact(self, name):
        return SimpleNamespace(record=SimpleNamespace(asset=TRAINING_PAGES), file=lambda file: self.folder / file)


def document(crawl, number):
    place = {"position": number, "shard": 0, "offset": number, "length": 1, "bytes": 1}
    split = "validation" if number % 3 == 0 else "train"
    page = {"url": f"http://{crawl}/{number}", "host": crawl, "crawl": crawl, "warc_file": "w", "warc_offset": number}
    return {"doc_id": f"{number:024x}", "split": split, **page, **place}


@pytest.mark.parametrize("documents", [{}, {"a": 0}, {"a": 0, "b": 5}, {"a": 5, "b": 0}], ids=str)
def test_a_crawl_may_have_no_documents(tmp_path, documents):
    inputs = Inputs(tmp_path, **documents)
    rows = shard_documents(inputs, ["url"])
    crawl = "a" if documents.get("a") else "b"
    order = [("train", 1), ("train", 2), ("train", 4), ("validation", 0), ("validation", 3)]
    expected = [(split, 1, f"http://{crawl}/{n}", n % 2 == 0) for split, n in order] if any(documents.values()) else []
    assert rows.rows() == expected and rows.columns == ["split", "length", "url", "current"]
    traced = training_documents(inputs)  # selected by crawl even if there are none
    assert traced.filter(crawl="b")["warc_offset"].to_list() == ([2, 4] if documents.get("b") else [])
