"""From the clean corpus to the base model on small crawls: what the checks hold, what goes wrong and how it says so."""

import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import Encoding, TokenizerError
from llm_assets.pretraining.base_checkpoint import PretrainingError
from llm_assets.recipes import Model, Pretraining, PublishedEncoding, Recipe, Tokenizer, TokenShards, WarcFiles
from llm_assets.tokens.token_shards import shards_agree
from llm_assets.training.shards import TokenStream
from tests.support.small import CORPUS, SMALL
from tests.support.warcs import page, story, write

TOKENS = [*CORPUS, GRAPH["tokenizer"], GRAPH["token_shards"]]


def build(recipe, stages=TOKENS, crawls=("c",), workers=1):
    workspace = open_workspace(recipe)
    workspace.engine = LocalEngine(workers)
    layers = sorted({GRAPH.layer(stage) for stage in stages})
    artifacts = {}
    for layer in layers:
        for crawl in crawls:
            for stage in stages:
                if GRAPH.layer(stage) == layer and (
                    stage.per_crawl or crawl == crawls[-1 if GRAPH.spans_crawls(stage) else 0]
                ):
                    key = f"{stage.name}/{crawl}" if stage.per_crawl else stage.name
                    artifacts[key] = materialize(stage, crawl if stage.per_crawl else None, workspace).artifact
    return artifacts


def recipe(tmp_path, pages=20, **changes):
    if not (tmp_path / "warc").exists():
        for number in range(2):
            write(
                tmp_path / "warc" / f"{number}.warc.gz",
                [page(f"http://host{number}.example/{i}", story(100 * number + i)) for i in range(pages // 2)],
            )
    return Recipe(**{"name": "t", "crawls": {"c": WarcFiles(path=str(tmp_path / "warc"))}, **SMALL, **changes})


def shards_of(artifacts, crawl="c"):
    return artifacts[f"token_shards/{crawl}"], artifacts[f"clean_corpus/{crawl}"], artifacts["tokenizer"]


def test_shards_hold_the_corpus_and_lead_back_to_it(tmp_path):
    artifacts = build(recipe(tmp_path, token_shards=TokenShards(shard_tokens=1024, validation_share=0.2)))
    shards, corpus, tokenizer = shards_of(artifacts)
    assert shards_agree(shards, corpus, tokenizer).passed
    index = pl.concat([pl.read_parquet(path) for path in shards.table("documents")])
    texts = {row["url"]: row["text"] for path in corpus.table("text") for row in pl.read_parquet(path).to_dicts()}
    encoding = Encoding.load(tokenizer.path)
    assert index["length"].max() > 512 and set(index["split"]) == {"train", "validation"}
    row = index.filter((pl.col("split") == "train") & (pl.col("offset") + pl.col("length") > 1024)).to_dicts()[
        0
    ]  # goes on in the next file
    stream = TokenStream([shards.path], "train")
    assert row["shard"] * 1024 + row["offset"] == row["position"]
    assert encoding.decode(stream.tokens(row["position"], row["length"])[1:].tolist()) == texts[row["url"]]
    assert (
        sorted(path.name for path in shards.path.glob("train-*.npy"))[0] == "train-00000.npy"
        and encoding.dtype.__name__ == "uint16"
    )


def test_a_token_changed_on_the_disk_is_found(tmp_path):
    artifacts = build(recipe(tmp_path))
    shards, corpus, tokenizer = shards_of(artifacts)
    path = shards.path / "train-00000.npy"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    outcome = shards_agree(shards, corpus, tokenizer)
    assert not outcome.passed and "decodes to another text" in outcome.summary


def test_one_worker_and_two_write_the_same_tokens(tmp_path, monkeypatch):
    versions = []
    for workers in (1, 2):
        monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / f"data{workers}"))
        artifacts = build(recipe(tmp_path), workers=workers)
        versions.append([artifacts[key].data_version for key in ("tokenizer", "token_shards/c")])
    assert versions[0] == versions[1]


def test_another_crawl_moves_no_page_to_the_other_split(tmp_path):
    write(tmp_path / "more" / "a.warc.gz", [page(f"http://host0.example/{i}", story(500 + i)) for i in range(10)])
    one = recipe(tmp_path, tokenizer=Tokenizer(vocabulary=360, crawls=("c",)))
    first = build(one)
    second = build(one.but(crawls={**one.crawls, "d": WarcFiles(path=str(tmp_path / "more"))}), crawls=("c", "d"))
    assert (
        second["tokenizer"].data_version == first["tokenizer"].data_version
        and second["token_shards/c"].data_version == first["token_shards/c"].data_version
    )
    splits = [
        dict(
            pl.concat([pl.read_parquet(path) for path in second[f"token_shards/{crawl}"].table("documents")])
            .select("url", "split")
            .iter_rows()
        )
        for crawl in ("c", "d")
    ]
    common = splits[0].keys() & splits[1].keys()
    assert len(common) == 10 and all(splits[0][url] == splits[1][url] for url in common)


def test_a_published_encoding_instead(tmp_path, shared_data):
    ranks = shared_data / "tokenizers" / "cl100k_base.tiktoken"
    named = PublishedEncoding(name="cl100k_base", ranks=str(ranks))
    artifacts = build(
        recipe(
            tmp_path,
            tokenizer=Tokenizer(
                encoding=named,
                compare=(PublishedEncoding(name="gpt2", ranks=str(shared_data / "tokenizers" / "r50k_base.tiktoken")),),
            ),
        )
    )
    shards, corpus, tokenizer = shards_of(artifacts)
    assert shards_agree(shards, corpus, tokenizer).passed and Encoding.load(tokenizer.path).dtype.__name__ == "uint32"
    compared = dict(pl.read_parquet(tokenizer.table("compression")).select("encoding", "bytes_per_token").iter_rows())
    assert (
        compared["raw bytes"] == 1.0
        and 4 < compared["cl100k_base"] < 6
        and set(compared) == {"raw bytes", "cl100k_base", "gpt2"}
    )


def test_a_vocabulary_that_the_corpus_cannot_fill(tmp_path):
    with pytest.raises(
        TokenizerError, match=r"tokenizer\.vocabulary 60,000: the corpus supports [\d,]+ only; lower it, or add crawls"
    ):
        build(recipe(tmp_path, tokenizer=Tokenizer(vocabulary=60_000)))


def test_a_corpus_smaller_than_a_batch(tmp_path):
    with pytest.raises(
        PretrainingError,
        match=r"the corpus has [\d,]+ tokens to train on, fewer than one batch of 1,048,480; lower pretraining\.batch_tokens",
    ):
        build(
            recipe(tmp_path, pretraining=Pretraining(tokens=2_000_000, batch_tokens=1 << 20, device="cpu")),
            stages=[*TOKENS, GRAPH["base_checkpoint"]],
        )


def test_an_earlier_model_goes_on_with_a_new_crawl(tmp_path):
    write(tmp_path / "more" / "a.warc.gz", [page(f"http://other.example/{i}", story(500 + i)) for i in range(10)])
    stages = [*TOKENS, GRAPH["base_checkpoint"]]
    one = recipe(tmp_path, tokenizer=Tokenizer(vocabulary=360, crawls=("c",)))
    first = build(one, stages)["base_checkpoint"]
    on = one.but(
        crawls={**one.crawls, "d": WarcFiles(path=str(tmp_path / "more"))},
        pretraining=one.pretraining.but(crawls=("d",), continue_from=str(first.path)),
    )
    second = build(on, stages, crawls=("c", "d"))["base_checkpoint"]
    losses = [pl.read_parquet(artifact.table("curve"))["loss"].to_list() for artifact in (first, second)]
    assert losses[1][0] < losses[0][0] - 0.5  # it does not start from zero
    assert second.record.fields["inputs"]["continue_from"] and "token_shards/c" not in second.record.fields["inputs"]
    assert load_checkpoint(second.path)[1] == load_checkpoint(first.path)[1]
    with pytest.raises(
        PretrainingError, match=r"continue_from .*nowhere: no checkpoint is there \(model\.safetensors, "
    ):
        build(
            on.but(pretraining=on.pretraining.but(continue_from=str(tmp_path / "nowhere"))), stages, crawls=("c", "d")
        )


def test_an_evaluation_names_the_pages_that_it_speaks_of(tmp_path):
    artifacts = build(recipe(tmp_path), stages=[*TOKENS, GRAPH["base_checkpoint"], GRAPH["base_evaluation"]])
    evaluation, corpus, shards = artifacts["base_evaluation"], artifacts["clean_corpus/c"], artifacts["token_shards/c"]
    pages = {row["url"]: row for path in corpus.table("text") for row in pl.read_parquet(path).to_dicts()}
    splits = dict(
        pl.concat([pl.read_parquet(path) for path in shards.table("documents")]).select("url", "split").iter_rows()
    )
    recitations = pl.read_parquet(evaluation.table("recitations")).to_dicts()
    assert len(recitations) == 5 and {row["times_seen"] for row in recitations} > {0}
    for row in recitations:
        assert row["prefix"] in pages[row["url"]]["text"] and row["doc_id"] == pages[row["url"]]["doc_id"]
        assert splits[row["url"]] == ("train" if row["times_seen"] else "validation")
    by_host = pl.read_parquet(evaluation.table("bits_per_byte"))
    held_out = [pages[url] for url, split in splits.items() if split == "validation"]
    assert dict(by_host.select("host", "documents").iter_rows()) == {
        host: sum(page["host"] == host for page in held_out) for host in {page["host"] for page in held_out}
    }
    assert by_host["bytes"].sum() == sum(len(page["text"].encode()) for page in held_out)
    baselines = dict(pl.read_parquet(evaluation.table("baselines")).iter_rows())
    assert set(baselines) == {"base model", "5-gram of bytes", "gzip -9", "xz -9e"}
    page = evaluation.file("report.html").read_text()
    assert (
        all(
            title in page for title in ("Bits a byte", "Pages recited", "Learning in context", "An assistant by prompt")
        )
        and "http" not in page.split("<style>")[1].split("</style>")[0]
    )
    assert evaluation.record.stats["bits_per_byte"]["base model"] == round(baselines["base model"], 4)


def test_shapes_that_cannot_be_say_so_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="heads 3 is no multiple of kv_heads 2"):
        Model(depth=1, width=48, heads=3, kv_heads=2).shape(360)


def test_commands_of_the_model(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from llm_assets.cli import cli
    from tests.support.small import recipe_file

    made = build(recipe(tmp_path), stages=[*TOKENS, GRAPH["base_checkpoint"]])
    recipe_file(tmp_path / "recipe.py", f"{{'c': WarcFiles(path={str(tmp_path / 'warc')!r})}}")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")

    def run(*words, fails=False):
        done = CliRunner().invoke(cli, words)
        assert (done.exception is not None) == fails, (done.output, done.exception)
        return str(done.exception) if fails else done.output

    greedy = run("complete", "The river", "--temperature", "0", "--max-tokens", "12")
    assert greedy.startswith("The river") and greedy == run(
        "complete",
        "The river",
        "--temperature",
        "0",
        "--max-tokens",
        "12",
        "--checkpoint",
        made["base_checkpoint"].record.short,
    )
    assert run("complete", "The river", "--seed", "3") == run(
        "complete", "The river", "--seed", "3", "--checkpoint", str(made["base_checkpoint"].path)
    )
    table = run("complete", "The river", "--next", "--count", "5")
    assert len(table.splitlines()) == 6 and "%" in table
    assert "no checkpoint 'nobody': there are base, sft, unmitigated, rl, reward, rlhf" in run(
        "complete", "x", "--checkpoint", "nobody", fails=True
    )
    assert "temperature -1.0: must be 0 or above" in run("complete", "x", "--temperature", "-1", fails=True)
    told = run("plan", "--depth", "12", "--device", "h200", "--recipe", "gpu")
    assert "135.3 M" in told and "$" in told and "built before" in told
    assert (
        "recipe gpt2-1.5b" in (big := run("plan", "--device", "4090", "--recipe", "gpt2-1.5b"))
        and "does not fit" in big
    )
    assert "device 'abacus'" in run("plan", "--depth", "2", "--device", "abacus", fails=True)
