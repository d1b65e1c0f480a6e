"""`llm-assets plan`: the sizes of a published model, what is wrong with its folder, and tokens beside a corpus'."""

import json

import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer

from llm_assets.cli import cli
from llm_assets.cli.plan import Candidate, TokenisedCorpus, candidates, epoch_lines, shape_of, tokenised_corpus
from llm_assets.cli.plan_memory import rows
from llm_assets.cli.plan_stages import Forecast, MachineSpeed
from llm_assets.graph import open_workspace
from llm_assets.model.encoding import SPECIAL_TOKENS
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import ConversationFile, Dpo, Finetuning, Lora, Pretraining, chat, gpu, laptop
from tests.support.published_models import write_published

WARNING = "warning: tokens read more than 4 times are worth less and less: 256,000 4.1 times"
RECIPE = """from llm_assets.recipes import PublishedModel, laptop


def mine():
    base = laptop()
    start = PublishedModel(path={folder!r}, context=64)
    return base.replace(name="mine", pretraining=base.pretraining.replace(start=start))
"""


@pytest.fixture
def folder(tmp_path):
    write_published(tmp_path / "published", "smollm2")
    (tmp_path / "recipe.py").write_text(RECIPE.format(folder=str(tmp_path / "published")))
    return tmp_path / "published"


def plan(folder):
    return CliRunner().invoke(cli, ["plan", "--recipe", f"{folder.parent}/recipe.py:mine"])


def test_the_sizes_are_those_of_the_published_model(folder):
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size() + len(SPECIAL_TOKENS) - 1
    outcome = plan(folder)
    assert f"vocabulary {vocabulary}, context 64" in outcome.output, outcome.output
    assert outcome.output.count("recipe mine") == 1 and "depth" not in outcome.output
    stages = [line.split()[0] for line in outcome.output.splitlines() if "_checkpoint " in line]
    tuned = ["sft_checkpoint", "reward_checkpoint", "rl_checkpoint", "rlhf_checkpoint"]
    assert sorted(stages) == sorted([*tuned, *tuned])


def test_a_folder_that_the_training_could_not_read_is_an_error(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    outcome = plan(folder)
    assert "pytorch_model.bin: a pickle" in str(outcome.exception)


def test_the_memory_of_each_training_counts_adapters_and_what_saves_memory():
    shape, lora = ModelShape("qwen3", 151_936, 2048, 28, 2048, 16, 8, 128, 6144, True, 1e6), Lora(rank=16, alpha=32)
    recipe = gpu().replace(finetuning=Finetuning(lora=lora), dpo=Dpo(lora=lora))
    of = {cells[0]: cells for cells in rows(recipe, shape, "4090", 1)}
    assert of["sft_checkpoint"][1] == of["dpo_checkpoint"][1] == "17.4 M (LoRA)"
    assert of["sft_checkpoint"][3] == "10.3 GB" and of["sft_checkpoint"][4] == "69.7 MB"
    assert of["rl_checkpoint"][-1] == of["rlhf_checkpoint"][-1] == "does not fit"
    whole = {cells[0]: cells for cells in rows(gpu(), shape, "4090", 8)}
    assert whole["sft_checkpoint"][-1].endswith("(activation checkpointing, divided among 8)")
    assert whole["dpo_checkpoint"][-1] == "does not fit"
    assert [cells[2] for cells in rows(gpu(), shape, "cpu", 1)] == ["2", "32", "32", "64", "64"]


def of_tokens(tokens) -> Candidate:
    shape = ModelShape.of_depth(1, 500, 64, width=32)
    return Candidate(f"{tokens:,}", shape, Pretraining(tokens=tokens, batch_tokens=64))


@pytest.mark.parametrize(("tokens", "warned"), [(1_000_000, []), (64_000, []), (63_000, [WARNING])])
def test_only_more_than_four_epochs_are_a_warning(tokens, warned):
    corpus = TokenisedCorpus(tokens, 4, 8_000_000)
    first, needed, *warnings = epoch_lines(corpus, [of_tokens(256_000), of_tokens(64)])
    assert first.startswith("the corpus has ") and first.endswith("of 4 files of 2.0 MB")
    assert needed.endswith(f": 256,000 {-(-256_000 * 4 // tokens)}, 64 1")
    assert warnings == warned


def test_tokens_are_held_against_no_corpus_that_is_not_built(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path))
    assert tokenised_corpus(open_workspace(laptop())) is None
    [line] = epoch_lines(None, candidates(laptop(), shape_of(laptop()), (), None))
    assert "not tokenised yet" in line


def forecasts(tmp_path, monkeypatch, lora=None, device="h100", **changes):
    """The plans of a chat recipe with 30 conversations and 20 rankings, by stage."""
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / "data"))
    conversations, rankings = tmp_path / "own.jsonl", tmp_path / "ranked.jsonl"
    conversations.write_text(json.dumps({"instruction": "a" * 100, "output": "b" * 284}) + "\n")
    rankings.write_text(json.dumps({"prompt": "q" * 80, "chosen": "c" * 80, "rejected": "r" * 80}) + "\n")
    files = [ConversationFile(path=str(conversations), name="own", repeat=30)]
    recipe = chat(str(tmp_path), files, [str(rankings)], lora=lora)
    recipe = recipe.replace(conversations=recipe.conversations.replace(count=0), **changes)
    shape = ModelShape.of_depth(4, 500, 64, width=64)
    return {plan.stage: plan for plan in Forecast(open_workspace(recipe), shape, MachineSpeed.named(device, 1)).plans()}


def test_each_training_that_the_recipe_runs_is_forecast(tmp_path, monkeypatch):
    plans = forecasts(tmp_path, monkeypatch)
    assert list(plans) == ["sft_checkpoint", "dpo_checkpoint"]
    sft = plans["sft_checkpoint"]
    # 384 bytes and two messages make 100 tokens, read in three epochs.
    assert (sft.data, sft.tokens) == ("30 conversations", 3 * 30 * 100) and plans["dpo_checkpoint"].tokens > 0
    everything = {"leave_out": (), "preference_tuning": "rlhf", "compare_with_ablation": True}
    assert list(forecasts(tmp_path, monkeypatch, **everything)) == [
        "sft_checkpoint",
        "ablation_checkpoint",
        "rl_checkpoint",
        "reward_checkpoint",
        "rlhf_checkpoint",
    ]


def test_adapters_need_two_thirds_of_the_work(tmp_path, monkeypatch):
    plain, adapted = forecasts(tmp_path, monkeypatch), forecasts(tmp_path, monkeypatch, lora=Lora())
    assert adapted["sft_checkpoint"].flops == pytest.approx(plain["sft_checkpoint"].flops * 2 / 3)
    # In DPO the reference reads everything once, whatever is trained.
    assert adapted["dpo_checkpoint"].flops == pytest.approx(plain["dpo_checkpoint"].flops * 3 / 4)


def test_rollouts_wait_for_the_memory_of_a_gpu_and_for_the_processor_of_a_cpu(tmp_path, monkeypatch):
    on_gpu = forecasts(tmp_path, monkeypatch, leave_out=())["rl_checkpoint"]
    on_cpu = forecasts(tmp_path, monkeypatch, device="cpu", leave_out=())["rl_checkpoint"]
    assert on_gpu.parts["rollouts"] > on_gpu.parts["updates"]
    assert on_cpu.parts["rollouts"] < on_cpu.parts["updates"] and on_cpu.flops == on_gpu.flops
