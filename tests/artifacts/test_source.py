"""What decides a stage's bytes is among the source whose change is told: modules, and the SQL that they use."""

import pytest

from llm_assets.artifacts import source
from llm_assets.curation import corpus
from llm_assets.graph import GRAPH
from llm_assets.sql import statement


def edit(monkeypatch, name):
    """Make one file's digest another, as an edit of it would."""
    digest = source._digest
    monkeypatch.setattr(source, "_digest", lambda path: "another" if path.name == name else digest(path))


@pytest.mark.parametrize(
    ("stage", "file", "told"),
    [
        ("token_shards", "training_pages.py", "llm_assets.recipes.training_pages"),
        ("tokenizer", "training_pages.py", "llm_assets.recipes.training_pages"),
        ("filtered_urls", "filter_urls.sql", "sql/filter_urls.sql"),
        ("raw_warc", "resolve_revisits.sql", "sql/resolve_revisits.sql"),
        ("reject_ledger", "ledger.sql", "sql/ledger.sql"),
    ],
)
def test_an_edited_file_is_told(monkeypatch, stage, file, told):
    build = GRAPH[stage].build
    then = source.source_digests(build)
    assert source.drift(build, then) == []
    edit(monkeypatch, file)
    assert source.drift(build, then) == [told]


def test_the_framework_is_not_told_of_every_stage():
    assert source.modules_used_by("llm_assets.tokens.token_shards")
    for stage in GRAPH:
        behind = set(source.source_digests(stage.build)) - set(source.NOT_FRAMEWORK)
        assert not [name for name in behind if name.startswith(source.FRAMEWORK)], stage.name


def test_a_formatted_statement_name_stands_for_every_file_that_it_may_be():
    files = {path.name for path in source.statement_files(corpus.__name__)}
    assert {"captures_of_url.sql", "reject_of_capture.sql", "page_of_capture.sql"} <= files
    assert "ledger.sql" not in files and statement("page_of_capture")
