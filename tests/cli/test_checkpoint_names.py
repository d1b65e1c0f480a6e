"""Errors of commands for a name that is not a checkpoint, or a checkpoint that is not built."""

import pytest
from click.testing import CliRunner

from llm_assets.cli import cli


@pytest.mark.parametrize("words", [("chat", "Hello!"), ("complete", "x"), ("export", "folder")])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("clean_corpus", "clean_corpus is not a checkpoint; available: base_checkpoint, sft_checkpoint"),
        ("tokenizer", "tokenizer is not a checkpoint; available: base_checkpoint"),
        ("sft", "sft_checkpoint is not built under recipe 'laptop'; run: llm-assets run --select '*sft_checkpoint'"),
        ("base_checkpoint", "base_checkpoint is not built under recipe 'laptop'; run: llm-assets run --select"),
    ],
)
def test_the_error_lists_the_checkpoints_or_the_command_that_builds_one(words, name, problem):
    result = CliRunner().invoke(cli, [*words, "--checkpoint", name])
    assert problem in str(result.exception)
