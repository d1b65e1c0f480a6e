"""A published model through the graph: from its folder to the exported assistant, and back in as a start."""

import polars as pl

from llm_assets.graph import GRAPH
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import SPECIAL_TOKENS, Encoding
from llm_assets.recipes import PublishedModel
from llm_assets.release.model_export import compare_with_gguf, compare_with_transformers, texts_to_compare
from tests.support.building import build
from tests.support.published_models import TEXTS, write_published
from tests.support.sample_pipeline import TO_CONVERSATIONS, sample_recipe
from tests.support.small_recipe import DEFAULT_STAGES, SMALL
from tests.support.written_corpus import texts


def starting(folder, tokens=None):
    start = PublishedModel(path=str(folder), context=128)
    return sample_recipe(pretraining=SMALL["pretraining"].replace(start=start, tokens=tokens))


def build_all(recipe, stages):
    """Build the stages in a store that already has the corpus."""
    return build(recipe, stages, crawls=("sample",))


def test_a_qwen3_becomes_an_assistant_whose_export_is_a_start_itself(tmp_path, pipeline_copy):
    """As it is, with Qwen's NFC and spare rows."""
    write_published(tmp_path / "qwen3", "qwen3", spare_rows=40, texts=[*TEXTS, *texts(60)])
    artifacts = build_all(starting(tmp_path / "qwen3"), DEFAULT_STAGES)
    assert artifacts["clean_corpus/sample"].path == pipeline_copy.artifacts["clean_corpus/sample"].path
    assert artifacts["base_checkpoint"].record.stats["steps"] == 0
    assert len(pl.read_parquet(artifacts["base_evaluation"].table("evaluation"))) > 5
    export, checkpoint = artifacts["model_export"], artifacts["rlhf_checkpoint"]
    questions, pages = texts_to_compare(artifacts["conversations"], [artifacts["clean_corpus/sample"]])
    outcome = compare_with_transformers(export, checkpoint, questions[:8], pages[:8])
    assert outcome.passed, outcome.failures
    assert compare_with_gguf(export, checkpoint).passed
    again = build_all(
        starting(export.path / "huggingface"),
        [GRAPH[name] for name in ("tokenizer", "token_shards", "base_checkpoint")],
    )
    weights = [artifact.file("model.safetensors").read_bytes() for artifact in (checkpoint, again["base_checkpoint"])]
    assert weights[0] == weights[1]


def test_a_smollm2_is_trained_further_and_then_on_conversations(tmp_path, pipeline_copy):
    """Its ids begin with special tokens."""
    write_published(tmp_path / "smollm2", "smollm2", texts=[*TEXTS, *texts(60)])
    artifacts = build_all(starting(tmp_path / "smollm2", tokens=4096), [*TO_CONVERSATIONS, GRAPH["sft_checkpoint"]])
    assert artifacts["base_checkpoint"].record.stats["steps"] == 4096 // 256
    model, encoding = load_checkpoint(artifacts["sft_checkpoint"].path)
    assert model.shape.architecture == "llama" and model.shape.context == 128
    assert encoding == Encoding.load(artifacts["tokenizer"].path)
    assert len(encoding.new_ids) == len(SPECIAL_TOKENS) - 1 and encoding.bos == 0
