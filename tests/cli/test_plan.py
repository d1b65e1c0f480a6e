"""What `plan` says of the tokens of a model and of a corpus."""

import pytest

from llm_assets.cli.plan import Candidate, candidates, corpus_tokens, epoch_lines
from llm_assets.graph import open_workspace
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Pretraining, laptop

WARNING = "warning: tokens read more than 4 times are worth less and less: 256,000 4.1 times"


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
    [line] = epoch_lines(None, candidates(laptop(), (), None))
    assert "not tokenised yet" in line
