"""Drift covers the source that decides a stage's bytes: modules, and the SQL that they use."""

import pytest

from llm_assets.artifacts import source
from llm_assets.curation import corpus
from llm_assets.graph import GRAPH
from llm_assets.sql import statement


def edit(monkeypatch, name):
    """Change the digest of a file, as an edit would."""
    digest = source._digest
    monkeypatch.setattr(source, "_digest", lambda path: "another" if path.name == name else digest(path))


@pytest.mark.parametrize(
    ("stage", "file", "drifted"),
    [
        ("token_shards", "training_pages.py", "llm_assets.recipes.training_pages"),
        ("tokenizer", "training_pages.py", "llm_assets.recipes.training_pages"),
        ("filtered_urls", "filter_urls.sql", "sql/filter_urls.sql"),
        ("raw_warc", "resolve_revisits.sql", "sql/resolve_revisits.sql"),
        ("reject_ledger", "ledger.sql", "sql/ledger.sql"),
    ],
)
def test_an_edited_file_is_reported(monkeypatch, stage, file, drifted):
    build = GRAPH[stage].build
    digests_before = source.source_digests(build)
    assert source.drift(build, digests_before) == []
    edit(monkeypatch, file)
    assert source.drift(build, digests_before) == [drifted]


def test_no_stage_covers_the_framework():
    assert source.modules_used_by("llm_assets.tokens.token_shards")
    for stage in GRAPH:
        covered = set(source.source_digests(stage.build)) - set(source.NOT_FRAMEWORK)
        assert not [name for name in covered if name.startswith(source.FRAMEWORK)], stage.name


def test_a_formatted_statement_name_covers_every_file_that_it_may_name():
    files = {path.name for path in source.statement_files(corpus.__name__)}
    assert {"captures_of_url.sql", "reject_of_capture.sql", "page_of_capture.sql"} <= files
    assert "ledger.sql" not in files and statement("page_of_capture")
