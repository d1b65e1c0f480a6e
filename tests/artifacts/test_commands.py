"""Garbage collection, adoption, lineage and tracing of documents."""

import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from llm_assets.artifacts import ArtifactError, Graph, RemoteStore, materialize
from llm_assets.artifacts.adopt import adopt
from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.gc import collect, find_garbage
from llm_assets.artifacts.identity import recipe_label
from llm_assets.artifacts.lineage import downstream, trace_document, upstream
from llm_assets.artifacts.tables import TableInvalid
from llm_assets.artifacts.views import STAGE_METADATA, stage_metadata
from llm_assets.recipes import SampleWeb, laptop
from tests.support.toy import GRAPH, LETTERS, TOTAL, WORDS, Letters, ToyRecipe, make_folder, workspace


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")


def build_all(ws):
    """Materialise every stage; the artifacts, by stage."""
    return {stage.name: materialize(stage, "a" if stage.per_crawl else None, ws).artifact for stage in GRAPH}


def test_gc_deletes_what_only_a_forgotten_recipe_needed(tmp_path, folder):
    old = workspace(tmp_path / "store", ToyRecipe(folder=str(folder), factor=5))
    new = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    build_all(old)
    needed = {a.record.identity for a in build_all(new).values()}
    garbage = find_garbage(new, keep_last=0, forget=["toy"])
    assert {a.record.key for a in garbage.artifacts} == {"words/a", "total"}
    assert garbage.bytes > 0
    collect(new, garbage)
    assert {a.record.identity for a in new.store.artifacts()} == needed
    # The current recipe is never forgotten, and the store no longer knows the other one.
    again = find_garbage(new, keep_last=0, forget=["toy"])
    assert (again.artifacts, again.kept_for_recipes, again.forgotten) == ([], [], [])
    with pytest.raises(ArtifactError, match="no recipe 'other'; the store knows toy@"):
        find_garbage(new, forget=["other"])


def test_gc_keeps_what_another_recipe_resolves_to(tmp_path, folder):
    store = tmp_path / "store"
    other = workspace(store, ToyRecipe(folder=str(folder), name="other", factor=5))
    edited = workspace(store, ToyRecipe(folder=str(folder), name="mine", offset=3))
    mine = workspace(store, ToyRecipe(folder=str(folder), name="mine"))
    for ws in (other, edited, mine):
        build_all(ws)
    garbage = find_garbage(mine, keep_last=0)
    assert garbage.artifacts == [] and garbage.bytes == 0
    kept_keys = {holder.recipe: {a.record.key for a in holder.artifacts} for holder in garbage.kept_for_recipes}
    assert kept_keys == {recipe_label(other.recipe): {"words/a", "total"}, recipe_label(edited.recipe): {"total"}}
    assert all(
        holder.last_used == f"{datetime.now(UTC):%Y-%m-%d}" and holder.bytes > 0 for holder in garbage.kept_for_recipes
    )
    # An earlier state of the recipe is forgotten by its label; the other recipe keeps its artifacts.
    collect(mine, find_garbage(mine, keep_last=0, forget=[recipe_label(edited.recipe)]))
    assert all(materialize(stage, "a" if stage.per_crawl else None, other).cached for stage in GRAPH)
    assert edited.resolver().resolve("total", None).artifact is None


def test_a_recipe_keeps_only_what_it_resolved_to_last(tmp_path, folder):
    """Artifacts of inputs that have changed since are garbage, also for a collection under another recipe."""
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    before = {a.record.identity for a in build_all(ws).values()}
    (folder / "a" / "file0.txt").write_text("another line")
    build_all(ws)
    third = workspace(tmp_path / "store", ToyRecipe(folder=str(folder), name="third", factor=7))
    assert {a.record.identity for a in find_garbage(third, keep_last=0).artifacts} == before


def test_machines_share_notes_about_recipes_in_a_remote_store(tmp_path, folder):
    pytest.importorskip("obstore")
    first, second = (RemoteStore(f"local://{tmp_path}/url", tmp_path / name) for name in ("first", "second"))
    recipe = ToyRecipe(folder=str(folder), name="mine")
    mine = replace(workspace(tmp_path, recipe), store=first)
    build_all(mine)
    other = replace(workspace(tmp_path, ToyRecipe(folder=str(folder), name="other", factor=2)), store=second)
    assert find_garbage(other, keep_last=0).artifacts == []
    collect(other, find_garbage(other, keep_last=0, forget=["mine"]))
    assert first.remembered_recipes() == {}
    third = RemoteStore(first.url, tmp_path / "third")  # the first one's listing may be ten seconds old
    assert {artifact.record.asset for artifact in third.artifacts()} == {"letters"}  # the other recipe resolves to it


def test_registered_crawls_do_not_change_a_recipes_label(tmp_path):
    written = laptop()
    crawls = {"more": SampleWeb(day=2)}
    assert recipe_label(written.with_registered(crawls)) == recipe_label(written)
    assert recipe_label(written.replace(registered_crawls="all").with_registered(crawls)) == recipe_label(
        written.replace(registered_crawls="all")
    )
    assert recipe_label(written.replace(tokenizer=written.tokenizer.replace(vocabulary=512))) != recipe_label(written)


def test_gc_keeps_the_inputs_of_an_older_version_that_is_kept(tmp_path, folder):
    build_all(workspace(tmp_path / "store", ToyRecipe(folder=str(folder), factor=5)))
    new = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    materialize(WORDS, "a", new)
    # The `total` of the old recipe is the newest one, so the old `words` that it was built from is kept as well.
    assert find_garbage(new, keep_last=1).artifacts == []


def test_gc_removes_interrupted_builds_only_if_old_and_unlocked(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    identity = ws.resolver().resolve("letters", "a").identity
    staging = ws.store.open_staging(identity)
    assert find_garbage(ws, staging_days=1).staging == []
    os.utime(staging, (time.time() - 10 * 86_400,) * 2)
    assert find_garbage(ws, staging_days=1).staging == [staging]
    with ws.store.lock(identity):
        assert find_garbage(ws, staging_days=1).staging == []


def test_gc_removes_downloads_that_a_killed_process_left(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    download = ws.store.root / ".staging" / ".fetch-1-ab"
    (download / "letters" / "deep").mkdir(parents=True)
    assert find_garbage(ws, staging_days=1).staging == []
    for path in (download, *download.rglob("*")):
        os.utime(path, (time.time() - 10 * 86_400,) * 2)
    assert find_garbage(ws, staging_days=1).staging == [download]


def test_adopt_copies_data_that_matches_its_schema(tmp_path, folder):
    recipe = ToyRecipe(folder=str(folder))
    source = materialize(LETTERS, "a", workspace(tmp_path / "elsewhere", recipe)).artifact
    shutil.copytree(source.path / "letters", tmp_path / "data" / "letters")
    ws = workspace(tmp_path / "store", recipe)
    adopted = adopt(LETTERS, "a", ws, tmp_path / "data")
    assert adopted.record.adopted and adopted.data_version == source.data_version
    assert materialize(LETTERS, "a", ws).cached
    with pytest.raises(ArtifactError, match="in the store already"):
        adopt(LETTERS, "a", ws, tmp_path / "data")


def test_adopt_takes_only_the_data_from_another_stores_artifact(tmp_path, folder):
    recipe = ToyRecipe(folder=str(folder))
    other, ws = workspace(tmp_path / "elsewhere", recipe), workspace(tmp_path / "store", recipe)
    source = build_all(other)["total"]
    stage_metadata(replace(TOTAL, show=lambda total: {"numbers": "140"}), source)
    for stage in (LETTERS, WORDS):
        materialize(stage, "a", ws)
    adopted = adopt(TOTAL, None, ws, source.path)
    assert adopted.data_version == source.data_version and adopted.record.files == source.record.files
    assert adopted.record.views == ["total.txt"]
    assert adopted.view("total.txt").read_text() == "140 letters of words/a"
    assert not adopted.view(STAGE_METADATA).exists()


def test_adopt_validates_optional_tables_too(tmp_path, folder):
    recipe = ToyRecipe(folder=str(folder))
    source = materialize(LETTERS, "a", workspace(tmp_path / "elsewhere", recipe)).artifact
    optional = replace(LETTERS, optional_tables={"optional": Letters})
    shutil.copytree(source.path / "letters", tmp_path / "folder" / "letters")
    shutil.copytree(source.path / "letters", tmp_path / "folder" / "optional")
    ws = workspace(tmp_path / "store", recipe)
    ws.graph = Graph([optional])
    assert adopt(optional, "a", ws, tmp_path / "folder").record.rows == {"letters": 20, "optional": 20}
    frame = pl.read_parquet(tmp_path / "folder" / "optional")
    frame.with_columns(letters=-pl.col("letters")).write_parquet(tmp_path / "folder" / "optional" / "file0.parquet")
    again = workspace(tmp_path / "another", recipe)
    again.graph = ws.graph
    with pytest.raises(TableInvalid, match=r"optional/file0\.parquet"):
        adopt(optional, "a", again, tmp_path / "folder")


def test_check_results_are_deleted_with_the_artifact(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    total = build_all(ws)["total"]
    remembered = ws.store.root / ".checks" / total.record.short_id
    examine(TOTAL.checks[0], ws.resolver().resolve("total", None), ws.recipe, ws.store)
    assert list(remembered.iterdir())
    ws.store.delete(total)
    assert not remembered.exists()


def test_adopt_refuses_data_that_violates_the_schema(tmp_path, folder):
    (tmp_path / "bad" / "letters").mkdir(parents=True)
    broken = pl.DataFrame({"name": ["x"], "letters": [-1], "doc_id": ["d"]})
    broken.write_parquet(tmp_path / "bad" / "letters" / "one.parquet")
    with pytest.raises(TableInvalid, match=r"one\.parquet: 1 failures of Letters"):
        adopt(LETTERS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder))), tmp_path / "bad")
    with pytest.raises(ArtifactError, match=r"no letters/\*\.parquet"):
        adopt(LETTERS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder))), tmp_path)


def test_lineage_goes_upstream_and_downstream(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    built = build_all(ws)
    assert [a.record.key for a in upstream(ws.store, built["total"])] == ["words/a", "letters/a"]
    assert [a.record.key for a in downstream(ws.store, built["letters"])] == ["words/a", "total"]


def test_a_document_is_traced_through_every_table(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    built = build_all(ws)
    sightings = trace_document(list(built.values()), "file1-line1x")
    assert [(s.key, s.row["letters"]) for s in sightings] == [("letters/a", 6), ("words/a", 6)]
    assert trace_document([built["total"]], "nothing") == []
    assert TOTAL.name == "total"
