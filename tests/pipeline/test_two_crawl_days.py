"""Two days of the sample web: which version of a page search and training read, and what a later crawl adds."""

import sqlite3

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.graph import GRAPH
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import Recipe, Recrawl, SampleWeb
from llm_assets.tools import SearchIndex, SearchTool
from llm_assets.tools.search import INDEX
from llm_assets.training.documents import shard_documents, write_kept
from llm_assets.training.shards import SPLITS, TokenStream
from tests.support.building import build
from tests.support.sample_pipeline import ARCHIVE, stages_up_to_corpus_and, table_of
from tests.support.small_recipe import CORPUS, SMALL


def test_search_and_training_read_exactly_the_current_pages_of_two_days(tmp_path):
    days = {"a": SampleWeb(scale=0.1), "b": SampleWeb(scale=0.1, day=2, since="a")}
    settings = {name: SMALL[name] for name in ("tokenizer", "token_shards")}
    recipe = Recipe(name="t", crawls=days, search_only_hosts=(ARCHIVE,), **settings)
    stages = stages_up_to_corpus_and("search_index training_search_index tokenizer token_shards")
    artifacts = build(recipe, stages, tuple(days))
    truth = table_of(artifacts["raw_warc/b"], "truth_pages")
    reachable = set(truth.filter(pl.col("in_crawl") & (pl.col("status") == 200))["url"])
    versions = table_of(artifacts["page_versions"], "versions")
    current = versions.filter((pl.col("state") == "current") & pl.col("in_corpus"))
    assert set(current["url"]) <= reachable and current["url"].is_unique().all()
    assert current["crawl"].unique().sort().to_list() == ["a", "b"]
    for name in ("search_index", "training_search_index"):
        with sqlite3.connect(artifacts[name].file(INDEX)) as index:
            assert {url for (url,) in index.execute("SELECT DISTINCT url FROM passages")} == set(current["url"])
    check_training_documents(artifacts, recipe, current, tmp_path / "kept")


def check_training_documents(artifacts, recipe, current, folder):
    """Training reads the current pages of hosts that are not search-only, and each document is its page's text."""
    inputs = Inputs(artifacts)
    documents = shard_documents(inputs, ["url"])
    current_documents = documents.filter("current")
    assert set(current_documents["url"]) == {url for url in current["url"] if f"//{ARCHIVE}/" not in url}
    assert len(current_documents) < len(documents) and current_documents["url"].is_unique().all()
    pages = CorpusPages(inputs, TRAINING_PAGES, recipe.training_pages()).batches(["url", "text"])
    texts = {url: text for batch in pages for url, text in batch.iter_rows()}
    kept_folder = write_kept(documents, folder)
    folders = [artifacts[f"token_shards/{crawl}"].path for crawl in recipe.crawls]
    encoding = Encoding.load(artifacts["tokenizer"].path)
    for split in SPLITS:
        stream = TokenStream(folders, split, kept_folder)
        urls = current_documents.filter(pl.col("split") == split)["url"].to_list()
        assert stream.documents == len(urls)
        for number, url in enumerate(urls):
            assert encoding.decode(stream.document(number)[1:].tolist()) == texts[url]


def test_facts_of_the_second_day_are_found_by_search_but_not_in_the_training_index():
    from benchmarks.search_after_recrawl import found_by, later_facts  # imports torch

    days = {"day": SampleWeb(scale=0.3), "day-2026-10-12": SampleWeb(scale=0.3, day=2, since="day")}
    weekly = Recrawl(prefix="day", cron="0 0 * * 1", source=SampleWeb(day=2))
    recipe = Recipe(name="t", crawls=days, recrawls=(weekly,))
    indexes = ("search_index", "training_search_index")
    artifacts = build(recipe, [*CORPUS, *(GRAPH[name] for name in indexes)], tuple(days))
    facts = later_facts(*(pl.read_parquet(artifacts[f"raw_warc/{day}"].table("truth_questions")) for day in days))
    assert {fact["kind"] for fact in facts} == {"new", "changed"}
    today, at_training = (found_by(SearchTool(SearchIndex(artifacts[name].file(INDEX)), 3), facts) for name in indexes)
    new_facts = sum(fact["kind"] == "new" for fact in facts)
    assert new_facts == 48 and today["new"] >= 0.9 * new_facts and at_training["new"] == 0
    assert today["changed"] > at_training["changed"]
