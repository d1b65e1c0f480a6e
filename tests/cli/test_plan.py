"""`llm-assets plan`: the sizes of a published model, what is wrong with its folder, and tokens beside a corpus'."""

import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer

from llm_assets.cli import cli
from llm_assets.cli.plan import Candidate, candidates, corpus_tokens, epoch_lines, shape_of
from llm_assets.graph import open_workspace
from llm_assets.model.encoding import SPECIAL_TOKENS
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Pretraining, laptop
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


def test_a_folder_that_the_training_could_not_read_is_an_error(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    outcome = plan(folder)
    assert "pytorch_model.bin: a pickle" in str(outcome.exception)


def of_tokens(tokens) -> Candidate:
    shape = ModelShape.of_depth(1, 500, 64, width=32)
    return Candidate(f"{tokens:,}", shape, Pretraining(tokens=tokens, batch_tokens=64))


@pytest.mark.parametrize(("corpus", "warned"), [(1_000_000, []), (64_000, []), (63_000, [WARNING])])
def test_only_more_than_four_epochs_are_a_warning(corpus, warned):
    first, *warnings = epoch_lines(corpus, [of_tokens(256_000), of_tokens(64)])
    assert first.startswith("the corpus has ")
    assert warnings == warned


def test_tokens_are_held_against_no_corpus_that_is_not_built(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path))
    assert corpus_tokens(open_workspace(laptop())) is None
    [line] = epoch_lines(None, candidates(laptop(), shape_of(laptop()), (), None))
    assert "not tokenised yet" in line
