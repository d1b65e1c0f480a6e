"""`llm-assets plan` for a recipe that starts from a published model: its sizes, and what is wrong with its folder."""

import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer

from llm_assets.cli import cli
from llm_assets.cli.plan_memory import rows
from llm_assets.model.encoding import SPECIAL_TOKENS
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Dpo, Finetuning, Lora, gpu
from tests.support.published_models import write_published

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
    assert stages == ["sft_checkpoint", "reward_checkpoint", "dpo_checkpoint", "rl_checkpoint", "rlhf_checkpoint"]


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
