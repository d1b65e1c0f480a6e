"""A base model that is a published one: as it is, or trained further; its evaluation, identity and errors."""

import json
import shutil

import polars as pl
import pytest
import torch

from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.identity import canonical
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import Encoding
from llm_assets.pretraining.base_checkpoint import BASE_CHECKPOINT
from llm_assets.pretraining.base_evaluation import BASE_EVALUATION, REPORT
from llm_assets.recipes import BaseEvaluation, Compute, Pretraining, PublishedModel
from llm_assets.tokens.stages import STAGES as TOKENS
from llm_assets.training.start import StartError
from llm_assets.training.training_run import draw_loss
from tests.support.published_models import TEXTS, write_published
from tests.support.raw_truth import RAW
from tests.support.written_corpus import PAGES, build, small_recipe, texts, workspace

BUILT = ("clean_corpus", "tokenizer", "token_shards", "training_pages", "base_checkpoint")
IDS = torch.randint(0, 300, (2, 60), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def pages():
    PAGES.clear()
    # Two letters with their accents apart, which Qwen's tokenizer joins.
    PAGES["sample"] = [("news.example", f"{text} e\u0301l\u00e8ve") for text in texts(40)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "published"


def starting(folder, tokens=None, **changes):
    pretraining = Pretraining(
        start=PublishedModel(path=str(folder), context=64),
        tokens=tokens,
        batch_tokens=256,
        learning_rate=1e-3,
        validation_runs=2,
        validation_tokens=512,
        samples=1,
        sample_tokens=4,
        compute=Compute(device="cpu", processes=1),
    )
    small = {"prefixes": 2, "prefix_tokens": 8, "recited_tokens": 8, "free_samples": 2, "sample_tokens": 8}
    evaluation = BaseEvaluation(**small, problems=1, prompts=("The",), questions=("Who?",), device="cpu")
    return small_recipe(pretraining=pretraining, base_evaluation=evaluation, **changes)


def space(tmp_path, recipe):
    return workspace(tmp_path / "store", recipe, RAW, *TOKENS, BASE_CHECKPOINT, BASE_EVALUATION)


@pytest.mark.parametrize("family", ["qwen3", "smollm2"])
def test_without_steps_the_base_model_is_the_published_one(tmp_path, folder, family):
    reference, _ = write_published(folder, family, texts=[*TEXTS, *texts(20)])
    built = space(tmp_path, starting(folder))
    checkpoint = build(built, *BUILT).artifact
    model, encoding = load_checkpoint(checkpoint.path)
    with torch.no_grad():
        expected = reference(IDS).logits
        assert torch.allclose(model(IDS)[..., : expected.shape[-1]], expected, atol=1e-4)
    assert len(pl.read_parquet(checkpoint.table("curve"))) == 0 and checkpoint.record.stats["steps"] == 0
    assert len(pl.read_parquet(checkpoint.table("validation"))) == 1
    assert "<svg" in draw_loss(checkpoint, {}, None)
    shards = built.resolver().artifact("token_shards", "sample")
    assert encoding == Encoding.load(built.resolver().artifact("tokenizer", None).path)
    resolution = built.resolver().resolve("token_shards", "sample")
    (check,) = [check for check in resolution.stage.checks if check.name == "shards_match_corpus"]
    assert examine(check, resolution, built.recipe, built.store).outcome.passed
    assert shards.record.stats["train_documents"] > 20
    evaluation = build(built, "raw_warc", "base_evaluation").artifact
    assert "0 steps" in evaluation.view(REPORT).read_text()


def test_ids_above_65_535_are_kept(tmp_path, folder):
    """The token that begins every document has such an id."""
    write_published(folder, "qwen3", spare_rows=70_000)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    [bos] = [token for token in tokenizer["added_tokens"] if token["content"] == "<|endoftext|>"]
    bos["id"] = 70_000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    built = space(tmp_path, starting(folder, tokens=256))
    model, encoding = load_checkpoint(build(built, *BUILT).artifact.path)
    shards = built.resolver().resolve("token_shards", "sample")
    outcome = examine(shards.stage.checks[0], shards, built.recipe, built.store).outcome
    assert encoding.bos == 70_000 and outcome.passed and outcome.numbers["documents"] == len(PAGES["sample"])
    assert model.shape.vocabulary == encoding.size == 70_016


def test_with_tokens_the_published_model_is_trained_further(tmp_path, folder):
    write_published(folder, "llama", texts=[*TEXTS, *texts(20)])
    trained = build(space(tmp_path, starting(folder, tokens=4096)), *BUILT).artifact
    as_it_is = build(space(tmp_path, starting(folder)), "base_checkpoint").artifact
    losses = pl.read_parquet(trained.table("curve"))["loss"]
    validation = [pl.read_parquet(artifact.table("validation"))["loss"].to_list() for artifact in (trained, as_it_is)]
    assert len(losses) == 16 and validation[0][0] == validation[1][0] > validation[0][-1]
    models = [load_checkpoint(artifact.path)[0] for artifact in (trained, as_it_is)]
    assert models[0].shape == models[1].shape and not torch.equal(models[0](IDS), models[1](IDS))


def test_the_files_are_in_the_identity_and_their_place_is_not(tmp_path, folder):
    write_published(folder, "gpt2")
    first = build(space(tmp_path, starting(folder)), *BUILT).artifact
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    again = build(space(tmp_path, starting(moved)), "tokenizer", "token_shards", "base_checkpoint")
    assert again.artifact.path == first.path and again.cached
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "layer_norm_epsilon": 1e-3}))
    assert build(space(tmp_path, starting(moved)), *BUILT).artifact.path != first.path


def test_a_recipe_without_a_published_model_has_the_identity_that_it_had():
    recipe = small_recipe()
    for stage in (*TOKENS, BASE_CHECKPOINT):
        fields = canonical(stage.config(recipe, "sample" if stage.per_crawl else None))
        assert "start" not in str(fields)
        assert stage.external_inputs is None or not stage.external_inputs(stage.config(recipe, None))


def test_a_folder_that_is_gone_leaves_what_was_built_of_it(tmp_path, folder):
    write_published(folder, "gpt2")
    first = build(space(tmp_path, starting(folder)), *BUILT).artifact
    shutil.rmtree(folder)
    assert space(tmp_path, starting(folder)).resolver().artifact("base_checkpoint", None).path == first.path
    with pytest.raises(StartError, match=r"pretraining\.start: .*published: no such folder"):
        build(space(tmp_path / "new", starting(folder)), *BUILT)


def test_a_broken_folder_is_an_error_that_names_file_and_tensor(tmp_path, folder):
    from safetensors.torch import load_file, save_file

    write_published(folder, "smollm2")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.k_proj.weight"]
    save_file(weights, folder / "model.safetensors")
    message = r"published: tensor model\.layers\.1\.self_attn\.k_proj\.weight is missing, which config\.json asks for"
    with pytest.raises(Exception, match=message):
        build(space(tmp_path, starting(folder)), *BUILT)


def test_recipes_that_contradict_themselves_are_refused():
    start = PublishedModel(path="/missing")
    with pytest.raises(ValueError, match="tokens 0 needs a published model"):
        Pretraining(tokens=0)
    with pytest.raises(ValueError, match="start and continue_from both name a model"):
        Pretraining(start=start, continue_from="/missing")
