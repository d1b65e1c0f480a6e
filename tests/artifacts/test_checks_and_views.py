"""Check results are stored and reused; views are drawn beside the data, and again when their code has changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from llm_assets.artifacts import Check, CheckOutcome, Graph, View, materialize, source
from llm_assets.artifacts.checks import examine, stage_checks
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.views import draw_views, drawing_version
from llm_assets.graph import GRAPH as PROJECT_GRAPH
from tests.support.toy import LETTERS, TOTAL, WORDS, ToyRecipe, make_folder, workspace


@pytest.fixture
def built(tmp_path):
    """A workspace with everything built for one crawl."""
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(make_folder(tmp_path / "in"))))
    for stage, crawl in ((LETTERS, "a"), (WORDS, "a"), (TOTAL, None)):
        materialize(stage, crawl, ws)
    return ws


def total(ws):
    return materialize(ws.graph["total"], None, ws)


def test_a_check_runs_once(built, tmp_path, monkeypatch):
    log = tmp_path / "checks.log"
    monkeypatch.setenv("TOY_CHECKS", str(log))
    (check,) = TOTAL.checks
    results = [examine(check, total(built).resolution, built.recipe, built.store) for _ in range(3)]
    assert log.read_text().splitlines() == ["examined"]
    assert {result.outcome.summary for result in results} == {"140 letters"}
    assert results[0].outcome.numbers == results[2].outcome.numbers == {"letters": 140, "crawls": 1}


@pytest.mark.parametrize("change", [{"code_version": "2"}, {"config": lambda recipe, crawl: recipe}])
def test_a_check_runs_again_for_another_code_version_or_config(built, tmp_path, monkeypatch, change):
    (check,) = TOTAL.checks
    examine(check, total(built).resolution, built.recipe, built.store)
    log = tmp_path / "checks.log"
    monkeypatch.setenv("TOY_CHECKS", str(log))
    examine(replace(check, **change), total(built).resolution, built.recipe, built.store)
    assert log.exists()


def test_drift_of_a_checks_code_is_reported(built, monkeypatch):
    (check,) = TOTAL.checks
    assert examine(check, total(built).resolution, built.recipe, built.store).drifted == []
    monkeypatch.setattr("llm_assets.artifacts.source._digest", lambda path: "another")
    assert "tests.support.toy" in examine(check, total(built).resolution, built.recipe, built.store).drifted


def test_a_stage_with_tables_has_a_schema_check(built):
    schema, is_positive = stage_checks(TOTAL)
    assert (schema.name, schema.blocking, is_positive.name) == ("schema", True, "is_positive")
    outcome = examine(schema, total(built).resolution, built.recipe, built.store).outcome
    assert (outcome.passed, outcome.numbers) == (True, {"rows": 1})


def test_the_schema_check_reports_an_edited_schema_module(monkeypatch):
    schema, *_ = stage_checks(PROJECT_GRAPH["token_shards"])
    digests_before = schema.digests()
    assert digests_before.keys() == {"llm_assets.tokens.schemas"}
    digest = source._digest
    edited = source.module_file("llm_assets.tokens.schemas")
    monkeypatch.setattr(source, "_digest", lambda path: "another" if path == edited else digest(path))
    assert source.changed(schema.digests(), digests_before) == ["llm_assets.tokens.schemas"]


def test_drift_of_the_schema_check_covers_the_table_models(built, monkeypatch):
    schema, _ = stage_checks(TOTAL)
    assert examine(schema, total(built).resolution, built.recipe, built.store).drifted == []
    monkeypatch.setattr(source, "_digest", lambda path: "another")
    assert examine(schema, total(built).resolution, built.recipe, built.store).drifted == ["tests.support.toy"]


def test_a_view_is_stored_beside_the_data_and_outside_its_version(built):
    artifact = total(built).artifact
    assert artifact.view("total.txt").read_text() == "140 letters of words/a"
    assert artifact.record.views == ["total.txt"]
    assert "total.txt" not in artifact.record.files


def test_a_missing_view_is_drawn_again(built):
    artifact = total(built).artifact
    artifact.view("total.txt").unlink()
    assert total(built).cached
    assert artifact.view("total.txt").exists()


def test_a_view_is_drawn_again_after_its_code_changed_without_a_build(built, monkeypatch):
    before = total(built).artifact
    assert draw_views(total(built).resolution, before) == []
    changed = replace(TOTAL, views=(replace(TOTAL.views[0], draw=_draw_differently),))
    monkeypatch.setattr(built, "graph", Graph([LETTERS, WORDS, changed]))
    outcome = total(built)
    assert outcome.cached and outcome.artifact.data_version == before.data_version
    assert before.view("total.txt").read_text() == "different"


def _draw_differently(artifact, inputs, config) -> str:
    return "different"


def test_a_views_version_covers_its_template_files(tmp_path, monkeypatch):
    view = View("x.html", _draw_differently, ("test_checks_and_views.template",))
    template = Path(__file__).with_name(view.templates[0])
    try:
        template.write_text("one")
        first = view.version()
        template.write_text("two")
        drawing_version.cache_clear()
        assert view.version() != first
    finally:
        template.unlink()


def test_garbage_collection_leaves_views_alone(built):
    assert find_garbage(built).artifacts == []
    assert total(built).artifact.view("total.txt").exists()


def test_a_failing_check_reports_its_rows(built):
    check = Check("never", "Never true.", _never)
    outcome = examine(check, total(built).resolution, built.recipe, built.store).outcome
    assert not outcome.passed and outcome.failures == [{"url": "http://a.example/"}]


def _never(artifact, inputs, config) -> CheckOutcome:
    return CheckOutcome(False, "no", [{"url": "http://a.example/"}])
