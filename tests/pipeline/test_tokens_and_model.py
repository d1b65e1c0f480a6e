"""From the clean corpus to the base model on small crawls: token shards, training, its evaluation, and clear errors."""

import re
from collections import Counter

import polars as pl
import pytest
from click.testing import CliRunner

from llm_assets.cli import cli
from llm_assets.graph import GRAPH
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import Encoding, TokenizerError
from llm_assets.pretraining.base_checkpoint import PretrainingError
from llm_assets.recipes import Compute, Model, Pretraining, PublishedEncoding, Tokenizer, TokenShards, WarcFiles
from llm_assets.training.shards import TokenStream
from tests.support.building import build, check
from tests.support.small_recipe import CORPUS, recipe_file, warc_recipe, warc_sources
from tests.support.warcs import page, story, write

TOKENS = [*CORPUS, GRAPH["tokenizer"], GRAPH["token_shards"]]


def shards_of(artifacts):
    """The token shards, and the corpus and the tokenizer that they were built from."""
    return artifacts["token_shards/c"], artifacts["clean_corpus/c"], artifacts["tokenizer"]


def documents(shards):
    """The index of the shards' documents."""
    return pl.concat([pl.read_parquet(path) for path in shards.table("documents")])


def shards_match_corpus(recipe, changed=None):
    return check(recipe, "token_shards", "shards_match_corpus", "c", changed)


def test_shards_hold_the_texts_of_the_corpus(base_recipe):
    recipe = base_recipe.replace(token_shards=TokenShards(shard_tokens=1024, validation_share=0.2))
    shards, corpus, tokenizer = shards_of(build(recipe, TOKENS))
    index, outcome = documents(shards), shards_match_corpus(recipe)
    assert outcome.passed and outcome.numbers["documents"] == len(index)
    texts = {row["url"]: row["text"] for path in corpus.table("text") for row in pl.read_parquet(path).to_dicts()}
    encoding = Encoding.load(tokenizer.path)
    assert index["length"].max() > 512 and set(index["split"]) == {"train", "validation"}
    in_two_files = (pl.col("split") == "train") & (pl.col("offset") + pl.col("length") > 1024)
    document = index.filter(in_two_files).row(0, named=True)
    stream = TokenStream([shards.path], "train")
    assert document["shard"] * 1024 + document["offset"] == document["position"]
    tokens = stream.tokens(document["position"], document["length"])[1:].tolist()
    assert encoding.decode(tokens) == texts[document["url"]]
    assert sorted(path.name for path in shards.path.glob("train-*.npy"))[0] == "train-00000.npy"
    assert encoding.dtype.__name__ == "uint16"


def test_a_token_that_changed_on_disk_is_found(base_recipe):
    shards, _, _ = shards_of(build(base_recipe, TOKENS))
    path = shards.path / "train-00000.npy"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    outcome = shards_match_corpus(base_recipe, shards)
    assert not outcome.passed and "decodes to another text" in outcome.summary


def test_one_worker_and_two_write_the_same_tokens(tmp_path, monkeypatch):
    versions = []
    for workers in (1, 2):
        monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / f"data{workers}"))
        artifacts = build(warc_recipe(tmp_path), TOKENS, workers=workers)
        versions.append([artifacts[key].data_version for key in ("tokenizer", "token_shards/c")])
    assert versions[0] == versions[1]


def test_another_crawl_moves_no_page_between_the_splits(base_recipe, tmp_path):
    write(tmp_path / "more" / "a.warc.gz", [page(f"http://host0.example/{i}", story(500 + i)) for i in range(10)])
    single = base_recipe.replace(tokenizer=Tokenizer(vocabulary=360, crawls=("c",)))
    both = single.replace(crawls={**single.crawls, "d": WarcFiles(path=str(tmp_path / "more"))})
    first, second = build(single, TOKENS), build(both, TOKENS, crawls=("c", "d"))
    for key in ("tokenizer", "token_shards/c"):
        assert second[key].data_version == first[key].data_version
    shards = [second[f"token_shards/{crawl}"] for crawl in ("c", "d")]
    splits = [dict(documents(artifact).select("url", "split").iter_rows()) for artifact in shards]
    common = splits[0].keys() & splits[1].keys()
    assert len(common) == 10 and all(splits[0][url] == splits[1][url] for url in common)


def test_a_published_encoding_replaces_the_trained_one(base_recipe, shared_data):
    folder = shared_data / "tokenizers"
    named = PublishedEncoding(name="cl100k_base", ranks=str(folder / "cl100k_base.tiktoken"))
    other = PublishedEncoding(name="gpt2", ranks=str(folder / "r50k_base.tiktoken"))
    recipe = base_recipe.replace(tokenizer=Tokenizer(encoding=named, compare=(other,)))
    _, _, tokenizer = shards_of(build(recipe, TOKENS))
    assert shards_match_corpus(recipe).passed and Encoding.load(tokenizer.path).dtype.__name__ == "uint32"
    compared = dict(pl.read_parquet(tokenizer.table("compression")).select("encoding", "bytes_per_token").iter_rows())
    assert set(compared) == {"raw bytes", "cl100k_base", "gpt2"}
    assert compared["raw bytes"] == 1.0 and 4 < compared["cl100k_base"] < 6


def test_a_vocabulary_too_large_for_the_corpus_is_an_error(base_recipe):
    message = r"tokenizer\.vocabulary 60,000: the corpus supports only [\d,]+; lower it, or add crawls"
    with pytest.raises(TokenizerError, match=message):
        build(base_recipe.replace(tokenizer=Tokenizer(vocabulary=60_000)), TOKENS)


def test_a_corpus_smaller_than_one_batch_is_an_error(base_recipe):
    pretraining = Pretraining(tokens=2_000_000, batch_tokens=1 << 20, compute=Compute(device="cpu"))
    recipe = base_recipe.replace(pretraining=pretraining)
    message = "tokens to train on, fewer than one batch of 1,048,480; lower pretraining.batch_tokens"
    with pytest.raises(PretrainingError, match=rf"the corpus has [\d,]+ {re.escape(message)}"):
        build(recipe, [*TOKENS, GRAPH["base_checkpoint"]])


def test_training_can_continue_an_earlier_model_on_a_new_crawl(base_recipe, tmp_path):
    write(tmp_path / "more" / "a.warc.gz", [page(f"http://other.example/{i}", story(500 + i)) for i in range(10)])
    stages = [*TOKENS, GRAPH["base_checkpoint"]]
    single = base_recipe.replace(tokenizer=Tokenizer(vocabulary=360, crawls=("c",)))
    first = build(single, stages)["base_checkpoint"]
    continued = single.replace(
        crawls={**single.crawls, "d": WarcFiles(path=str(tmp_path / "more"))},
        pretraining=single.pretraining.replace(crawls=("d",), continue_from=str(first.path)),
    )
    second = build(continued, stages, crawls=("c", "d"))["base_checkpoint"]
    losses = [pl.read_parquet(artifact.table("curve"))["loss"].to_list() for artifact in (first, second)]
    assert losses[1][0] < losses[0][0] - 0.5  # it does not start from random weights
    assert second.record.fields["inputs"]["continue_from"] and "token_shards/c" not in second.record.fields["inputs"]
    assert load_checkpoint(second.path)[1] == load_checkpoint(first.path)[1]
    lost = continued.replace(pretraining=continued.pretraining.replace(continue_from=str(tmp_path / "missing")))
    message = r"continue_from .*missing: not a checkpoint \(model\.safetensors, "
    with pytest.raises(PretrainingError, match=message):
        build(lost, stages, crawls=("c", "d"))


def test_the_evaluation_names_the_pages_behind_its_numbers(base_recipe):
    artifacts = build(base_recipe, stages=[*TOKENS, GRAPH["base_checkpoint"], GRAPH["base_evaluation"]])
    evaluation, corpus, shards = artifacts["base_evaluation"], artifacts["clean_corpus/c"], artifacts["token_shards/c"]
    pages = {row["url"]: row for path in corpus.table("text") for row in pl.read_parquet(path).to_dicts()}
    splits = dict(documents(shards).select("url", "split").iter_rows())
    recitations = pl.read_parquet(evaluation.table("recitations")).to_dicts()
    assert len(recitations) == 5 and {row["times_seen"] for row in recitations} > {0}
    for row in recitations:
        assert row["prefix"] in pages[row["url"]]["text"] and row["doc_id"] == pages[row["url"]]["doc_id"]
        assert splits[row["url"]] == ("train" if row["times_seen"] else "validation")
    by_host = pl.read_parquet(evaluation.table("bits_per_byte"))
    held_out = [pages[url] for url, split in splits.items() if split == "validation"]
    assert dict(by_host.select("host", "documents").iter_rows()) == Counter(page["host"] for page in held_out)
    assert by_host["bytes"].sum() == sum(len(page["text"].encode()) for page in held_out)
    predictors = pl.read_parquet(evaluation.table("evaluation")).filter(metric="bits_per_byte")
    assert predictors["model"].to_list() == ["base", "5-gram of tokens", "xz after the training text"]
    assert set(predictors["n"]) == {len(held_out)}
    page = evaluation.view("report.html").read_text()
    for title in ("Bits per byte", "Pages recited", "Learning in context", "A prompted assistant"):
        assert title in page
    assert "http" not in page.split("<style>")[1].split("</style>")[0]


def test_an_impossible_shape_is_an_error_before_anything_runs():
    with pytest.raises(ValueError, match="heads 3 is no multiple of kv_heads 2"):
        Model(depth=1, width=48, heads=3, kv_heads=2).shape(360)


def test_commands_that_complete_text_and_plan_a_training(base_recipe, tmp_path, monkeypatch):
    artifacts = build(base_recipe, stages=[*TOKENS, GRAPH["base_checkpoint"]])
    recipe_file(tmp_path / "recipe.py", warc_sources(base_recipe.crawls["c"].path))
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")

    def run(*words, fails=False):
        done = CliRunner().invoke(cli, words)
        assert (done.exception is not None) == fails, (done.output, done.exception)
        return str(done.exception) if fails else done.output

    base = artifacts["base_checkpoint"]
    greedily = ("complete", "The river", "--temperature", "0", "--max-tokens", "12")
    greedy, drawn = run(*greedily), run("complete", "The river", "--seed", "3")
    assert greedy.startswith("The river") and greedy == run(*greedily, "--checkpoint", base.record.short_id)
    assert drawn == run("complete", "The river", "--seed", "3", "--checkpoint", str(base.path))
    table = run("complete", "The river", "--next", "--count", "5")
    assert len(table.splitlines()) == 6 and "%" in table
    unknown = run("complete", "x", "--checkpoint", "nobody", fails=True)
    assert "no checkpoint 'nobody'; available: base, sft, ablation, rl, reward, rlhf" in unknown
    assert "temperature -1.0: must be 0 or above" in run("complete", "x", "--temperature", "-1", fails=True)
    plan = run("plan", "--depth", "12", "--device", "h200", "--recipe", "gpu")
    assert "135.3 M" in plan and "$" in plan and "built before" in plan
    own_plan = run("plan", "--tokens", "1000000000")
    assert "M tokens to train on" in own_plan and "warning: tokens read more than 4 times" in own_plan
    large_plan = run("plan", "--device", "4090", "--recipe", "gpt2-1.5b")
    assert "recipe gpt2-1.5b" in large_plan and "does not fit" in large_plan
    assert "device 'abacus'" in run("plan", "--depth", "2", "--device", "abacus", fails=True)
