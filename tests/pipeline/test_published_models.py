"""Published models through the graph: from a folder to the exported assistant, and back in as a start."""

import json

import polars as pl

from llm_assets.graph import GRAPH
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import SPECIAL_TOKENS, Encoding
from llm_assets.recipes import Lora, PublishedModel, QuestionFile, chat
from llm_assets.release.headlines import figures_of
from llm_assets.release.model_export import compare_with_gguf, compare_with_transformers, texts_to_compare
from llm_assets.release.replication import beside_baselines
from tests.support.building import build, check
from tests.support.published_models import TEXTS, write_published
from tests.support.sample_pipeline import sample_recipe, table_of
from tests.support.small_recipe import DEFAULT_STAGES, SMALL
from tests.support.written_corpus import texts


def starting(folder, tokens=None):
    start = PublishedModel(path=str(folder), context=128)
    return sample_recipe(pretraining=SMALL["pretraining"].replace(start=start, tokens=tokens))


def build_all(recipe, stages):
    """Build the stages in a store that already has the corpus."""
    return build(recipe, stages, crawls=("sample",))


def test_a_qwen3_is_trained_further_and_becomes_an_assistant_whose_export_is_a_start_itself(tmp_path, pipeline_copy):
    """With Qwen's NFC and spare rows."""
    write_published(tmp_path / "qwen3", "qwen3", spare_rows=40, texts=[*TEXTS, *texts(60)])
    artifacts = build_all(starting(tmp_path / "qwen3", tokens=4096), DEFAULT_STAGES)
    assert artifacts["clean_corpus/sample"].path == pipeline_copy.artifacts["clean_corpus/sample"].path
    assert artifacts["base_checkpoint"].record.stats["steps"] == 4096 // 256
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


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def chat_recipe(folder):
    """The preset at a size of seconds: no crawl, files of conversations, preferences, questions and problems."""
    conversations = [{"instruction": f"Name number {n}.", "input": "", "output": f"It is {n}."} for n in range(24)]
    rankings = [{"prompt": f"Count to {n}.", "chosen": f"One to {n}.", "rejected": "No."} for n in range(40)]
    question = {"question": "Who repairs the lamps?", "answers": ["Ann"]}
    problems = [{"question": f"What is {n} and one?", "answer": f"{n} + 1\n#### {n + 1}"} for n in range(60)]
    recipe = chat(
        PublishedModel(path=str(folder / "smollm2"), context=128),
        [write_rows(folder / "numbers.jsonl", conversations)],
        [write_rows(folder / "counts.jsonl", rankings)],
        questions=[QuestionFile(path=write_rows(folder / "faq.jsonl", [question]), name="faq")],
        lora=Lora(rank=2),
    ).with_word_problems(write_rows(folder / "sums.jsonl", problems))
    cpu = SMALL["finetuning"].compute
    return recipe.replace(
        conversations=recipe.conversations.replace(count=20),
        finetuning=recipe.finetuning.replace(epochs=1, batch_tokens=512, compute=cpu),
        sft_evaluation=recipe.sft_evaluation.replace(questions=2, max_tokens=8),
        practice_problems=recipe.practice_problems.replace(count=20, held_out=2),
        reinforcement=recipe.reinforcement.replace(
            steps=1, prompts=2, samples=2, max_tokens=8, redraws=1, minibatches=2, evaluation_problems=2, compute=cpu
        ),
        rl_evaluation=recipe.rl_evaluation.replace(problems=1, samples=1, max_tokens=8),
        dpo=recipe.dpo.replace(pairs=8, compute=cpu),
    )


def test_the_preset_chat_makes_an_assistant_of_a_smollm2_without_any_crawl(tmp_path):
    """Its ids begin with special tokens."""
    write_published(tmp_path / "smollm2", "smollm2", texts=[*TEXTS, *texts(60)])
    recipe = chat_recipe(tmp_path)
    names = dict(GRAPH.keys(recipe)).keys() - GRAPH.on_demand(recipe)
    artifacts = build(recipe, [stage for stage in GRAPH if stage.name in names], crawls=())
    assert artifacts["base_checkpoint"].record.stats["steps"] == 0
    model, encoding = load_checkpoint(artifacts["dpo_checkpoint"].path)
    assert model.shape.architecture == "llama" and model.shape.context == 128
    assert encoding == Encoding.load(artifacts["tokenizer"].path)
    assert len(encoding.new_ids) == len(SPECIAL_TOKENS) - 1 and encoding.bos == 0
    for name in ("same_in_transformers", "same_in_gguf"):
        assert check(recipe, "model_export", name).passed
    files = {path.relative_to(artifacts["model_export"].path).as_posix() for path in export_files(artifacts)}
    assert {f"huggingface/adapters/{model}/adapter_model.safetensors" for model in ("sft", "rl", "dpo")} <= files
    [step] = table_of(artifacts["rl_checkpoint"], "curve").to_dicts()
    assert json.loads(step["parts"])["redrawn"] == 2.0  # a random model solves nothing, and does so alike

    scorecard = artifacts["scorecard"]
    figures = table_of(scorecard, "evaluation")
    assert {"base", "sft", "rl", "dpo"} <= set(figures["model"]) and "ablation" not in set(figures["model"])
    assert {"sft", "dpo"} <= set(table_of(scorecard, "transcripts")["model"])
    headlines = dict((row[0], row[1]) for row in beside_baselines(figures_of(figures.to_dicts())))
    assert {"own questions: faq (contains), dpo", "worst change of an ability through DPO"} <= headlines.keys()
    page = scorecard.view("scorecard.html").read_text()
    assert "A published model of" in page and "released model, dpo: tuned to rankings by DPO" in page
    card = artifacts["model_export"].view("huggingface/README.md").read_text()
    assert "answers (GRPO), and tuned to preference rankings (DPO)" in card


def export_files(artifacts):
    return [path for path in artifacts["model_export"].path.rglob("*") if path.is_file()]
