"""Tokenizer and token shards: what they read of a corpus, what is checked of them, and the page drawn from them."""

import numpy as np
import polars as pl
import pytest

from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.inputs import Inputs
from llm_assets.recipes import Recrawl, SampleWeb, Tokenizer
from llm_assets.tokens.token_shards import TOKEN_SHARDS
from llm_assets.tokens.tokenizer import REPORT, TOKENIZER, TokenizerConfig, draw_report
from tests.support.written_corpus import PAGES, build, small_recipe, texts, workspace

HELD_OUT = ("archive.example",)


@pytest.fixture(autouse=True)
def pages():
    """Pages of two hosts, of which one is for search only where the recipe says so."""
    PAGES.clear()
    PAGES["sample"] = [("news.example", text) for text in texts(60)]
    PAGES["mixed"] = [
        *PAGES["sample"][:30],
        *((host, f"Zyxwv {text}") for text in texts(20, 1) for host in ("www.Archive.example",)),
        *PAGES["sample"][30:],
    ]


def tokens_of(artifact, split):
    return np.concatenate([np.load(path) for path in sorted(artifact.path.glob(f"{split}-0*.npy"))])


def check(space, outcome, name="shards_match_corpus"):
    (chosen,) = (one for one in outcome.resolution.stage.checks if one.name == name)
    return examine(chosen, outcome.resolution, space.recipe, space.store).outcome


def test_search_only_hosts_are_in_no_vocabulary_and_no_shard(tmp_path):
    whole = workspace(tmp_path / "a", small_recipe(), TOKENIZER, TOKEN_SHARDS)
    recipe = small_recipe(crawls={"mixed": SampleWeb()}, search_only_hosts=HELD_OUT)
    mixed = workspace(tmp_path / "b", recipe, TOKENIZER, TOKEN_SHARDS)
    ours, theirs = (build(space, "clean_corpus", "tokenizer", "token_shards") for space in (mixed, whole))
    for file in ("tokenizer.tiktoken", "encoding.json"):
        found = [build(space, "tokenizer").artifact.file(file).read_bytes() for space in (mixed, whole)]
        assert found[0] == found[1]
    # URLs differ by the pages' places in the crawl, and splits go by URL: together the tokens are the same.
    together = [
        sorted(np.concatenate([tokens_of(one.artifact, split) for split in ("train", "validation")]).tolist())
        for one in (ours, theirs)
    ]
    assert together[0] == together[1]
    stats = ours.artifact.record.stats
    assert stats["withheld_documents"] == 20 and stats["train_documents"] + stats["validation_documents"] == 60
    assert theirs.artifact.record.stats["withheld_documents"] == 0
    outcome = check(mixed, ours)
    assert outcome.passed and outcome.numbers["withheld_documents"] == 20 and outcome.numbers["documents"] == 60
    assert outcome.numbers["tokens"] == stats["train_tokens"] + stats["validation_tokens"]
    assert 0 < outcome.numbers["validation_share"] < 0.5


def test_a_search_only_page_in_the_shards_is_found(tmp_path):
    recipe = small_recipe(crawls={"mixed": SampleWeb()})
    space = workspace(tmp_path, recipe, TOKENIZER, TOKEN_SHARDS)
    outcome = build(space, "clean_corpus", "tokenizer", "token_shards")
    strict = TOKEN_SHARDS.config(recipe.replace(search_only_hosts=HELD_OUT), "mixed")
    (agree,) = TOKEN_SHARDS.checks
    found = agree.examine(outcome.artifact, outcome.resolution.inputs, strict)
    assert not found.passed and "for search only" in found.failures[0]["problem"]


def test_pages_that_are_missing_are_found(tmp_path):
    recipe = small_recipe(crawls={"mixed": SampleWeb()}, search_only_hosts=HELD_OUT)
    space = workspace(tmp_path, recipe, TOKENIZER, TOKEN_SHARDS)
    outcome = build(space, "clean_corpus", "tokenizer", "token_shards")
    everything = TOKEN_SHARDS.config(recipe.replace(search_only_hosts=()), "mixed")
    (agree,) = TOKEN_SHARDS.checks
    found = agree.examine(outcome.artifact, outcome.resolution.inputs, everything)
    assert not found.passed and found.failures[0]["problem"] == "not in the index"


def test_the_report_is_drawn_from_the_store_and_is_no_data(tmp_path):
    recipe = small_recipe(crawls={"mixed": SampleWeb()}, search_only_hosts=HELD_OUT)
    space = workspace(tmp_path, recipe, TOKENIZER, TOKEN_SHARDS)
    outcome = build(space, "clean_corpus", "tokenizer")
    artifact = outcome.artifact
    page = artifact.view(REPORT).read_text()
    assert REPORT not in artifact.record.files and artifact.record.views == [REPORT]
    assert "Compression" in page and "llm-assets" in page and "Zyxwv" not in page
    artifact.view(REPORT).unlink()
    assert build(space, "tokenizer").cached and artifact.view(REPORT).read_text() == page
    assert draw_report(artifact, Inputs(outcome.resolution.inputs), outcome.resolution.config) == page
    assert "| llm-assets | 400 |" in TOKENIZER.show(artifact)["compression"]
    unused = pl.read_parquet(artifact.table("vocabulary")).filter(~pl.col("special") & (pl.col("count") == 0))
    assert f"special ones; {len(unused)} of the former" in page


def test_a_crawl_of_a_schedule_leaves_the_tokenizer_alone(tmp_path):
    PAGES["r-2026-11-02"] = [("news.example", text) for text in texts(20, 5)]
    schedule = Recrawl(prefix="r", cron="0 3 * * 1", source=SampleWeb(), model="retrain")
    before = small_recipe(recrawls=(schedule,))
    after = before.replace(crawls={**before.crawls, "r-2026-11-02": SampleWeb()})
    made = [build(workspace(tmp_path, recipe, TOKENIZER), "clean_corpus", "tokenizer") for recipe in (before, after)]
    assert made[1].cached and made[0].artifact.path == made[1].artifact.path and made[1].crawls == ["sample"]


def test_the_slice_holds_what_the_build_reads():
    recipe = small_recipe(tokenizer=Tokenizer(vocabulary=400, crawls=("sample",)))
    config = TOKENIZER.config(recipe, None)
    assert set(Tokenizer.model_fields) - set(TokenizerConfig.model_fields) == {"crawls"}
    assert config.vocabulary == 400
