"""Tokenizer and token shards: which pages they read, what is checked, and the HTML page."""

import numpy as np
import polars as pl
import pytest

from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.inputs import Inputs
from llm_assets.recipes import Recrawl, SampleWeb, Tokenizer
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.tokens.token_shards import TOKEN_SHARDS
from llm_assets.tokens.tokenizer import REPORT, TOKENIZER, TokenizerConfig, corpus_texts, draw_report
from tests.support.written_corpus import PAGES, build, small_recipe, texts, workspace

HELD_OUT = ("archive.example",)


@pytest.fixture(autouse=True)
def pages():
    """Pages of two hosts; a recipe may say that one of them is for search only."""
    PAGES.clear()
    PAGES["sample"] = [("news.example", text) for text in texts(60)]
    PAGES["mixed"] = [
        *PAGES["sample"][:30],
        *((host, f"Zyxwv {text}") for text in texts(20, 1) for host in ("www.Archive.example",)),
        *PAGES["sample"][30:],
    ]


def tokens_of(artifact, split):
    """All tokens of a split."""
    return np.concatenate([np.load(path) for path in sorted(artifact.path.glob(f"{split}-0*.npy"))])


def check(space, outcome, name="shards_match_corpus"):
    """The outcome of a check of what was built."""
    (chosen,) = (candidate for candidate in outcome.resolution.stage.checks if candidate.name == name)
    return examine(chosen, outcome.resolution, space.recipe, space.store).outcome


def test_search_only_hosts_are_in_neither_the_vocabulary_nor_the_shards(tmp_path):
    without = workspace(tmp_path / "a", small_recipe(), TOKENIZER, TOKEN_SHARDS)
    recipe = small_recipe(crawls={"mixed": SampleWeb()}, search_only_hosts=HELD_OUT)
    mixed = workspace(tmp_path / "b", recipe, TOKENIZER, TOKEN_SHARDS)
    mixed_shards, shards = (build(space, "clean_corpus", "tokenizer", "token_shards") for space in (mixed, without))
    for file in ("tokenizer.tiktoken", "encoding.json"):
        first, second = (build(space, "tokenizer").artifact.file(file) for space in (mixed, without))
        assert first.read_bytes() == second.read_bytes()
    # URLs depend on the pages' places in the crawl, and splits on URLs, so only the tokens of both splits are the same.
    all_tokens = [
        sorted(np.concatenate([tokens_of(outcome.artifact, split) for split in ("train", "validation")]).tolist())
        for outcome in (mixed_shards, shards)
    ]
    assert all_tokens[0] == all_tokens[1]
    stats = mixed_shards.artifact.record.stats
    assert stats["withheld_documents"] == 20 and stats["train_documents"] + stats["validation_documents"] == 60
    assert shards.artifact.record.stats["withheld_documents"] == 0
    outcome = check(mixed, mixed_shards)
    assert outcome.passed and outcome.numbers["withheld_documents"] == 20 and outcome.numbers["documents"] == 60
    assert outcome.numbers["tokens"] == stats["train_tokens"] + stats["validation_tokens"]
    assert 0 < outcome.numbers["validation_share"] < 0.5


def test_the_check_finds_a_search_only_page_in_the_shards(tmp_path):
    recipe = small_recipe(crawls={"mixed": SampleWeb()})
    space = workspace(tmp_path, recipe, TOKENIZER, TOKEN_SHARDS)
    outcome = build(space, "clean_corpus", "tokenizer", "token_shards")
    strict = TOKEN_SHARDS.config(recipe.replace(search_only_hosts=HELD_OUT), "mixed")
    (agree,) = TOKEN_SHARDS.checks
    result = agree.examine(outcome.artifact, outcome.resolution.inputs, strict)
    assert not result.passed and "for search only" in result.failures[0]["problem"]


def test_the_check_finds_missing_pages(tmp_path):
    recipe = small_recipe(crawls={"mixed": SampleWeb()}, search_only_hosts=HELD_OUT)
    space = workspace(tmp_path, recipe, TOKENIZER, TOKEN_SHARDS)
    outcome = build(space, "clean_corpus", "tokenizer", "token_shards")
    everything = TOKEN_SHARDS.config(recipe.replace(search_only_hosts=()), "mixed")
    (agree,) = TOKEN_SHARDS.checks
    result = agree.examine(outcome.artifact, outcome.resolution.inputs, everything)
    assert not result.passed and result.failures[0]["problem"] == "not in the index"


def test_the_html_page_is_drawn_from_the_store_and_is_not_part_of_the_data(tmp_path):
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
    assert f"special tokens. {len(unused)} of the byte-pair tokens" in page


def test_a_scheduled_crawl_does_not_change_the_tokenizer(tmp_path):
    PAGES["r-2026-11-02"] = [("news.example", text) for text in texts(20, 5)]
    schedule = Recrawl(prefix="r", cron="0 3 * * 1", source=SampleWeb(), model="retrain")
    before = small_recipe(recrawls=(schedule,))
    after = before.replace(crawls={**before.crawls, "r-2026-11-02": SampleWeb()})
    outcomes = [
        build(workspace(tmp_path, recipe, TOKENIZER), "clean_corpus", "tokenizer") for recipe in (before, after)
    ]
    assert (
        outcomes[1].cached
        and outcomes[0].artifact.path == outcomes[1].artifact.path
        and outcomes[1].crawls == ["sample"]
    )


def test_the_config_holds_what_the_build_reads():
    recipe = small_recipe(tokenizer=Tokenizer(vocabulary=400, crawls=("sample",)))
    config = TOKENIZER.config(recipe, None)
    assert set(Tokenizer.model_fields) - set(TokenizerConfig.model_fields) == {"crawls"}
    assert config.vocabulary == 400


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_texts_of_a_larger_corpus_are_chosen_by_hash(tmp_path, share):
    PAGES["sample"] = [("news.example", text) for text in texts(80)]
    corpus = build(workspace(tmp_path, small_recipe()), "clean_corpus").artifact
    rows = pl.read_parquet(corpus.table("text"))
    total = corpus.record.stats["text_bytes"]
    chosen = list(corpus_texts([corpus], TrainingPages(), int(share * total)))
    limit = int(int(share * total) / total * 16**8) if share < 1 else 16**8
    assert chosen == [text for doc_id, text in rows.select("doc_id", "text").iter_rows() if int(doc_id[:8], 16) < limit]
    assert len(chosen) == 80 or 10 < len(chosen) < 40
