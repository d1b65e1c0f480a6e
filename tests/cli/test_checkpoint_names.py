"""What a command says of a checkpoint that is none, or that is not built."""

import pytest
from click.testing import CliRunner

from llm_assets.cli import cli


@pytest.mark.parametrize("words", [("chat", "Hello!"), ("complete", "x"), ("export", "folder")])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("clean_corpus", "clean_corpus is no checkpoint; there are base_checkpoint, sft_checkpoint"),
        ("tokenizer", "tokenizer is no checkpoint; there are base_checkpoint"),
        ("sft", "sft_checkpoint is not built under recipe 'laptop'; run: llm-assets run --select '*sft_checkpoint'"),
        ("base_checkpoint", "base_checkpoint is not built under recipe 'laptop'; run: llm-assets run --select"),
    ],
)
def test_the_error_says_what_there_is(words, name, problem):
    done = CliRunner().invoke(cli, [*words, "--checkpoint", name])
    assert problem in str(done.exception)
