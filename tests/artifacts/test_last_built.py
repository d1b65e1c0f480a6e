"""What is shown of assets whose inputs have changed: their last artifacts, marked as stale."""

from dataclasses import replace

import pytest

from llm_assets.artifacts import Graph, RemoteStore, Stage, Store, View, Workspace, materialize
from llm_assets.artifacts.errors import LeftOut, NotBuilt
from llm_assets.artifacts.graph_state import graph_state
from llm_assets.artifacts.last_built import LastBuilt, current_or_last_built
from llm_assets.artifacts.table_files import table_files
from llm_assets.compute import LocalEngine
from llm_assets.preference.schemas import RankingRejects
from llm_assets.recipes import Deduplication, Recipe, WarcFiles

VERSION = {"votes": "1"}  # of the external input of `votes`
ROW = {"file": "ann", "line": 1, "reason": "none"}


def build_model(step, config):
    with step.task("model") as task:
        task.table("rows", RankingRejects).append(ROW)
        step.inputs.artifact("votes")


def build_votes(step, config):
    with step.task("votes") as task:
        (step.staging / "votes.txt").write_text(step.identity.inputs["votes"])
        task.add_file("votes.txt")


def build_pages(step, config):
    with step.task("pages") as task:
        task.table("rows", RankingRejects).append(ROW)


def draw(artifact, inputs, config):
    return "<p>Drawn.</p>"


STAGES = [
    Stage("votes", "test", "Votes.", build_votes, "1", external_inputs=lambda config: VERSION),
    Stage(
        "model",
        "test",
        "A model.",
        build_model,
        "1",
        inputs=("votes",),
        tables={"rows": RankingRejects},
        views=(View("page.html", draw),),
    ),
    Stage("pages", "test", "Pages.", build_pages, "1", per_crawl=True, tables={"rows": RankingRejects}),
]
SEEDED = [Stage("seeded", "test", "Has a seed.", build_pages, "1", config=lambda recipe, crawl: recipe.deduplication)]
RECIPE = Recipe(name="mine", crawls={name: WarcFiles(path="/none") for name in "ab"})


def workspace_of(store, recipe=RECIPE, stages=STAGES):
    return Workspace(recipe, store, Graph(list(stages)), LocalEngine(1))


def build(workspace, *names):
    for name, crawl in workspace.graph.keys(workspace.recipe):
        if not names or name in names:
            materialize(workspace.graph[name], crawl, workspace)


@pytest.fixture(params=["folder", "URL"])
def workspace(request, tmp_path, monkeypatch):
    """A workspace in which everything is built, then a new version of the votes."""
    monkeypatch.setitem(VERSION, "votes", "1")
    is_folder = request.param == "folder"
    store = Store(tmp_path) if is_folder else RemoteStore(f"local://{tmp_path}/objects", tmp_path / "cache")
    workspace = workspace_of(store)
    build(workspace)
    VERSION["votes"] = "2"
    build(workspace, "votes")
    return workspace


def test_the_graph_shows_what_was_built_last(workspace):
    (model,) = workspace.store.artifacts("model")
    states = {asset.name: asset for asset in graph_state(workspace)}
    (shown,) = states["model"].artifacts
    assert states["model"].state == "build" and "inputs.votes" in shown.reason
    assert shown.stale == LastBuilt(workspace).why_stale("model") and shown.identity == model.record.short_id
    assert shown.views == ["page.html"] and shown.rows == {"rows": 1} and shown.finished_at
    assert not any(artifact.stale for name in ("votes", "pages") for artifact in states[name].artifacts)


def test_tables_of_stale_assets_are_read_and_marked(workspace):
    tables = table_files(workspace)
    assert set(tables) == {"model", "pages"} and tables["pages"].stale == [] and tables["pages"].rows == 2
    assert tables["model"].rows == 1 and len(tables["model"].files) == 1
    (why,) = tables["model"].stale
    assert why.startswith("model is stale, and shown as it was last built (would build: inputs.votes")


def test_a_table_has_the_columns_of_one_version(workspace, monkeypatch):
    changed = [stage if stage.name != "pages" else replace(stage, code_version="2") for stage in STAGES]
    newer = workspace_of(workspace.store, stages=changed)
    materialize(newer.graph["pages"], "a", newer)
    assert table_files(newer)["pages"].rows == 2 and len(table_files(newer)["pages"].stale) == 1
    (older,) = workspace.store.artifacts("pages", "b")
    monkeypatch.setitem(older.record.schemas, "rows", {"other": "String"})
    assert table_files(newer)["pages"].rows == 1 and table_files(newer)["pages"].stale == []


def test_nothing_is_shown_of_recipes_of_other_names_and_of_what_is_left_out(workspace):
    other = workspace_of(workspace.store, RECIPE.replace(name="other"))
    assert not any(artifact.stale for asset in graph_state(other) for artifact in asset.artifacts)
    with pytest.raises(NotBuilt):
        current_or_last_built(other, "model")
    assert "model" not in table_files(other)
    without = workspace_of(workspace.store, RECIPE.replace(leave_out=("model",)))
    with pytest.raises(LeftOut):
        current_or_last_built(without, "model")
    assert "model" not in table_files(without)


def test_the_newest_that_the_recipe_has_used_is_shown(workspace):
    build(workspace, "model")
    *_, newest = workspace.store.artifacts("model")
    VERSION["votes"] = "3"
    build(workspace, "votes")
    changed = workspace_of(workspace.store, RECIPE.replace(leave_out=("pages",)))  # another recipe of this name
    assert [current_or_last_built(space, "model") for space in (workspace, changed)] == [(newest, True)] * 2


def test_the_one_that_the_recipe_used_last_is_shown_and_compared_with_whatever_others_have_built(workspace):
    """A recipe that goes back to an older version uses that one."""

    def with_seed(seed, name="mine"):
        return workspace_of(workspace.store, RECIPE.replace(name=name, deduplication=Deduplication(seed=seed)), SEEDED)

    for seed in (1, 2, 1):
        build(with_seed(seed), "seeded")
    build(with_seed(77, "other"), "seeded")
    (shown,) = next(asset.artifacts for asset in graph_state(with_seed(3)) if asset.name == "seeded")
    first, second, _ = workspace.store.artifacts("seeded")
    assert shown.reason == "would build: config.seed: 2 → 3" and shown.identity == second.record.short_id
    build(with_seed(1), "seeded")
    (shown,) = next(asset.artifacts for asset in graph_state(with_seed(3)) if asset.name == "seeded")
    assert shown.reason == "would build: config.seed: 1 → 3" and shown.identity == first.record.short_id


def test_a_damaged_version_is_not_shown_and_takes_no_table_away(workspace):
    (model,) = workspace.store.artifacts("model")
    for file in model.table("rows"):
        file.write_bytes(b"cut")
    with pytest.raises(NotBuilt):
        current_or_last_built(workspace, "model")
    assert set(table_files(workspace)) == {"pages"}
    assert not any(artifact.stale for asset in graph_state(workspace) for artifact in asset.artifacts)


def test_a_note_that_was_cut_off_names_no_version(workspace, monkeypatch):
    monkeypatch.setattr(workspace.store, "notes_of", lambda label, asset: {"_": ""})
    assert LastBuilt(workspace).used.last("model") is None


def test_no_artifact_is_listed_to_find_what_was_built_last(workspace, monkeypatch):
    """A store may have thousands of versions."""
    (model,) = workspace.store.artifacts("model")
    stored = LastBuilt(workspace)
    monkeypatch.setattr(workspace.store, "artifacts", None)
    assert stored.current_or_last("model") == (model, True) and stored.used.last("pages", "a") is not None
    assert stored.used.last("pages", "no crawl") is None and stored.used.last("pages") is None
