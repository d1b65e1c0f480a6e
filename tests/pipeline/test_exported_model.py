"""The scorecard, the exported model in other programs, and chatting with a checkpoint in the terminal."""

import json
import subprocess
import sys

import polars as pl
import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard

from llm_assets.cli import cli
from llm_assets.graph import GRAPH
from llm_assets.model.chat import CALL_ENDS, CALL_STARTS, Message, prompt
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import Encoding
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.release.model_export import compare_with_gguf, compare_with_transformers, texts_to_compare


def test_the_scorecard_covers_every_stage(pipeline):
    scorecard = pipeline.artifacts["scorecard"]
    transcripts, costs = pipeline.table("scorecard", "transcripts"), pipeline.table("scorecard", "costs")
    assert set(transcripts["model"]) == {"base", "sft", "rl", "rlhf"}
    assert (transcripts.group_by("number").len()["len"] == 4).all()
    assert {"search", "fictitious", "open", "guidelines", "sums", "letters"} <= set(transcripts["kind"])
    stages = {key.split("/")[0] for key in pipeline.artifacts} - {"scorecard", "model_export"}
    stages -= GRAPH.on_demand(pipeline.recipe)
    stages -= {"page_versions", "search_index", "corpus_report"}  # they span all crawls and are inputs of no model
    assert set(costs["stage"]) == stages
    assert costs.filter(pl.col("key") == "base_checkpoint")["flops"][0] > 0 and (costs["watt_hours"] >= 0).all()
    page = scorecard.view("scorecard.html").read_text()
    assert "http" not in page.split("<style>")[1].split("</style>")[0]
    assert "<script" not in page and page.count("<svg") >= 5
    titles = (
        "From captures to text",
        "Base model",
        "Reinforcement learning",
        "Preference tuning",
        "Answers side by side",
        "Costs",
        "Identities",
    )
    assert [title for title in titles if title not in page] == []
    for key in ("base_checkpoint", "rlhf_checkpoint", "clean_corpus/sample"):
        assert pipeline.artifacts[key].record.short_id in page


def test_the_export_equals_the_checkpoint_in_transformers_and_in_gguf(pipeline):
    artifacts = pipeline.artifacts
    export, checkpoint = artifacts["model_export"], artifacts["rlhf_checkpoint"]
    questions, pages = texts_to_compare(artifacts["conversations"], [artifacts["clean_corpus/sample"]])
    outcome = compare_with_transformers(export, checkpoint, questions[:8], pages[:8])
    assert outcome.passed, outcome.failures
    assert compare_with_gguf(export, checkpoint).passed
    assert not compare_with_transformers(export, artifacts["base_checkpoint"], questions[:2], pages[:2]).passed
    assert not compare_with_gguf(export, artifacts["base_checkpoint"]).passed
    card = export.view("huggingface/README.md").read_text()
    assert ModelCard(card).data.license == "unknown"
    stored = pipeline.table("rlhf_evaluation", "evaluation").filter(pl.col("model") == "rlhf")
    for result in ModelCard(card).data.eval_results:
        same = stored.filter(pl.col("metric") == result.metric_name)["value"].round(4)
        assert result.metric_value in same.to_list()
    for expected in (checkpoint.record.short_id, "simulated", artifacts["clean_corpus/sample"].record.short_id):
        assert expected in card
    end_tokens = json.loads(export.file("huggingface/generation_config.json").read_text())["eos_token_id"]
    assert end_tokens[0] == Encoding.load(checkpoint.path).special["<|assistant_end|>"]


@pytest.mark.parametrize(("stage", "can_chat"), [("base_checkpoint", False), ("sft_checkpoint", True)])
def test_a_command_exports_any_checkpoint(pipeline, tmp_path, stage, can_chat):
    checkpoint, target = pipeline.artifacts[stage], tmp_path / stage
    gguf = "f32" if can_chat else "none"
    words = ["export", str(target), "--checkpoint", str(checkpoint.path), "--gguf", gguf]
    run = CliRunner().invoke(cli, words)
    assert run.exit_code == 0, run.output
    assert (target / "model.gguf").exists() == can_chat
    assert (target / "model.safetensors").read_bytes() == checkpoint.file("model.safetensors").read_bytes()
    end_tokens = json.loads((target / "generation_config.json").read_text())["eos_token_id"]
    assert isinstance(end_tokens, list) == can_chat
    assert (target / "Modelfile").exists() == can_chat
    card = ModelCard.load(target / "README.md")
    assert card.data.language == ["en"] and ("apply_chat_template" in card.text) == can_chat


def greedy(encoding):
    """Sampling of the most probable tokens, up to the end of the assistant's turn."""
    stop = (encoding.special["<|assistant_end|>"], encoding.bos)
    return Sampling(max_tokens=12, temperature=0.0, stop=stop)


def test_transformers_generates_the_same_tokens_from_the_export(pipeline):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = pipeline.artifacts["model_export"].path / "huggingface"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    transformers_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model, encoding = load_checkpoint(pipeline.artifacts["rlhf_checkpoint"].path)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who are you?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    generated = transformers_model.generate(**inputs, max_new_tokens=12, do_sample=False)
    continuation = generated[0, inputs["input_ids"].shape[1] :].tolist()
    [completion] = Engine(model, encoding).complete(
        [prompt(encoding, [Message("user", "Who are you?")])], greedy(encoding)
    )
    assert continuation[: len(completion.tokens)] == completion.tokens


LLAMA_CPP = """
import json, sys
import xllamacpp
request = json.loads(sys.stdin.read())
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx, parameters.warmup = request["path"], request["context"], False
server = xllamacpp.Server(parameters)
for ids in request["prompts"]:
    completion = {"prompt": ids, "n_predict": request["tokens"], "temperature": 0.0, "cache_prompt": False}
    answer = server.handle_completions(completion)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    print("ANSWER", json.dumps(answer["choices"][0]["text"]), flush=True)
"""


def llama_cpp_answers(path, context, prompts):
    """The texts by which llama.cpp continues the prompts (token ids), 12 tokens each, in a process of its own."""
    request = json.dumps({"path": str(path), "context": context, "prompts": prompts, "tokens": 12})
    done = subprocess.run([sys.executable, "-c", LLAMA_CPP], input=request, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(lines) == len(prompts), done.stderr[-2000:]
    return [json.loads(line.removeprefix("ANSWER ")) for line in lines]


def first_difference(texts, other):
    """How many tokens two completions share. texts: of one of them, after 0, 1, 2… tokens."""
    return next((end for end in range(1, len(texts)) if not other.startswith(texts[end])), len(texts)) - 1


def test_llama_cpp_generates_the_same_text_from_the_gguf_file(pipeline, tmp_path):
    pytest.importorskip("xllamacpp", reason="llama.cpp (xllamacpp) is not installed")
    folder = pipeline.artifacts["rlhf_checkpoint"].path
    run = CliRunner().invoke(cli, ["export", str(tmp_path), "--checkpoint", str(folder), "--gguf", "f32"])
    assert run.exit_code == 0, run.output
    model, encoding = load_checkpoint(folder)
    questions = ("Who are you?", "Tell me about the river.", "Spell tea.")
    prompts = [prompt(encoding, [Message("user", question)]) for question in questions]
    answers = llama_cpp_answers(tmp_path / "model.gguf", model.shape.context, prompts)
    engine = Engine(model, encoding)
    special = {rank for name, rank in encoding.special.items() if name not in (*CALL_STARTS, *CALL_ENDS)}
    completions = engine.complete(prompts, greedy(encoding))
    for prompt_ids, completion, answer in zip(prompts, completions, answers, strict=True):
        tokens = completion.tokens
        texts = [
            encoding.decode([token for token in tokens[:end] if token not in special]) for end in range(len(tokens) + 1)
        ]
        # The two may part only where this barely trained model finds two tokens equally probable up to rounding.
        if texts[-1] != answer:
            place = first_difference(texts, answer)
            (_, first), (_, second) = engine.next_tokens([*prompt_ids, *tokens[:place]], 2)
            assert second > 0.999 * first, (texts[-1], answer, place, first, second)


def test_chatting_in_the_terminal(pipeline):
    folder = str(pipeline.artifacts["sft_checkpoint"].path)
    commands = ["/history", "/system Be kind.", "/tools", "/tools none", "/tools nonsense", "/reset", "/history"]
    typed = ["Hello!", *commands, "/nonsense", "/help", "long " * 400, "/exit", "never read"]
    words = ["chat", "--checkpoint", folder, "--max-tokens", "6"]
    run = CliRunner().invoke(cli, words, input="".join(f"{line}\n" for line in typed))
    assert run.exit_code == 0, run.output
    for expected in ("Be kind.", "(none)", "(forgotten)", "(nothing was said)", "no command /nonsense", "/reset "):
        assert expected in run.output, expected
    assert "the context holds only 160" in run.output
    assert "never read" not in run.output


def test_chatting_with_a_base_model_and_with_an_unknown_checkpoint(pipeline):
    folder = str(pipeline.artifacts["base_checkpoint"].path)
    base = CliRunner().invoke(cli, ["chat", "--checkpoint", folder, "--max-tokens", "6", "Who are you?"])
    assert base.exit_code == 0, base.output
    unknown = CliRunner().invoke(cli, ["chat", "--checkpoint", "nobody", "Hello!"])
    assert "no checkpoint 'nobody'" in str(unknown.exception)
