"""`llm-assets plan` for a recipe that starts from a published model: its sizes, and what is wrong with its folder."""

import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer

from llm_assets.cli import cli
from llm_assets.model.encoding import SPECIAL_TOKENS
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


def test_a_folder_that_the_training_could_not_read_is_an_error(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    outcome = plan(folder)
    assert "pytorch_model.bin: a pickle" in str(outcome.exception)
