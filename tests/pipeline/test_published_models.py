"""A published model through the whole graph: from its folder to the exported assistant, and back in as a start."""

import polars as pl
import pytest

from llm_assets.graph import GRAPH
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import SPECIAL_TOKENS
from llm_assets.recipes import PublishedModel
from llm_assets.release.model_export import compare_with_gguf, compare_with_transformers, texts_to_compare
from tests.support.building import build
from tests.support.published_models import TEXTS, write_published
from tests.support.sample_pipeline import sample_recipe
from tests.support.small_recipe import DEFAULT_STAGES, SMALL
from tests.support.written_corpus import texts

# As it is, with Qwen's NFC and spare rows; and trained further, with ids that begin with special tokens.
STARTS = {"qwen3": (None, 40), "smollm2": (4096, 0)}


@pytest.mark.parametrize("family", STARTS)
def test_a_published_model_becomes_an_assistant(tmp_path, family):
    tokens, spare_rows = STARTS[family]
    published, _ = write_published(tmp_path / family, family, spare_rows=spare_rows, texts=[*TEXTS, *texts(60)])
    start = PublishedModel(path=str(tmp_path / family), context=128)
    recipe = sample_recipe(pretraining=SMALL["pretraining"].replace(start=start, tokens=tokens))
    artifacts = build(recipe, DEFAULT_STAGES, crawls=("sample",))
    base, export = artifacts["base_checkpoint"], artifacts["model_export"]
    assert base.record.stats["steps"] == (0 if tokens is None else 16 * 2)
    model, encoding = load_checkpoint(artifacts["rlhf_checkpoint"].path)
    assert model.shape.architecture == published.config.model_type and model.shape.context == 128
    assert len(encoding.new_ids) == len(SPECIAL_TOKENS) - 1
    assert pl.read_parquet(artifacts["base_evaluation"].table("evaluation")).height > 5
    questions, pages = texts_to_compare(artifacts["conversations"], [artifacts["clean_corpus/sample"]])
    outcome = compare_with_transformers(export, artifacts["rlhf_checkpoint"], questions[:8], pages[:8])
    assert outcome.passed, outcome.failures
    assert compare_with_gguf(export, artifacts["rlhf_checkpoint"]).passed

    # The exported assistant is a published model itself: as a start, it is the assistant again.
    again = sample_recipe(
        pretraining=SMALL["pretraining"].replace(start=start.replace(path=str(export.path / "huggingface")))
    )
    second = build(
        again, [GRAPH[name] for name in ("tokenizer", "token_shards", "base_checkpoint")], crawls=("sample",)
    )
    weights = [
        artifact.file("model.safetensors").read_bytes()
        for artifact in (artifacts["rlhf_checkpoint"], second["base_checkpoint"])
    ]
    assert weights[0] == weights[1]
