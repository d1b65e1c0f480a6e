"""gc, adopt, trace: what they keep, take in and find."""

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
from llm_assets.artifacts.views import SHOWN, shown
from llm_assets.recipes import SampleWeb, laptop
from tests.support.toy import GRAPH, LETTERS, TOTAL, WORDS, Letters, ToyRecipe, make_folder, workspace


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")


def everything(ws):
    return {stage.name: materialize(stage, "a" if stage.per_crawl else None, ws).artifact for stage in GRAPH}


def test_gc_deletes_of_a_forgotten_recipe_what_no_other_needs(tmp_path, folder):
    old = workspace(tmp_path / "store", ToyRecipe(folder=str(folder), factor=5))
    new = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    everything(old)
    kept = {a.record.identity for a in everything(new).values()}
    garbage = find_garbage(new, keep_last=0, forget=["toy"])
    assert {a.record.key for a in garbage.artifacts} == {"words/a", "total"}
    assert garbage.bytes > 0
    collect(new, garbage)
    assert {a.record.identity for a in new.store.artifacts()} == kept
    # The present recipe is never forgotten, and the other is not known any more.
    again = find_garbage(new, keep_last=0, forget=["toy"])
    assert (again.artifacts, again.kept, again.forgotten) == ([], [], [])
    with pytest.raises(ArtifactError, match="no recipe 'other'; the store knows toy@"):
        find_garbage(new, forget=["other"])


def test_gc_deletes_nothing_that_another_recipe_resolves_to(tmp_path, folder):
    store = tmp_path / "store"
    other = workspace(store, ToyRecipe(folder=str(folder), name="other", factor=5))
    edited = workspace(store, ToyRecipe(folder=str(folder), name="mine", offset=3))
    mine = workspace(store, ToyRecipe(folder=str(folder), name="mine"))
    for ws in (other, edited, mine):
        everything(ws)
    garbage = find_garbage(mine, keep_last=0)
    assert garbage.artifacts == [] and garbage.bytes == 0
    told = {kept.recipe: {a.record.key for a in kept.artifacts} for kept in garbage.kept}
    assert told == {recipe_label(other.recipe): {"words/a", "total"}, recipe_label(edited.recipe): {"total"}}
    assert all(kept.last_used == f"{datetime.now(UTC):%Y-%m-%d}" and kept.bytes > 0 for kept in garbage.kept)
    # An earlier state of the recipe of the same name goes by its own label; the other recipe stays as it is.
    collect(mine, find_garbage(mine, keep_last=0, forget=[recipe_label(edited.recipe)]))
    assert all(materialize(stage, "a" if stage.per_crawl else None, other).cached for stage in GRAPH)
    assert edited.resolver().resolve("total", None).artifact is None


def test_a_recipe_keeps_what_it_resolved_to_last(tmp_path, folder):
    """Its inputs changed: what was made of the earlier ones is garbage, whatever recipe one asks with."""
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    before = {a.record.identity for a in everything(ws).values()}
    (folder / "a" / "file0.txt").write_text("another line")
    everything(ws)
    third = workspace(tmp_path / "store", ToyRecipe(folder=str(folder), name="third", factor=7))
    assert {a.record.identity for a in find_garbage(third, keep_last=0).artifacts} == before


def test_notes_of_recipes_are_shared_behind_a_url(tmp_path, folder):
    one, two = (RemoteStore("memory://gc-store", tmp_path / name) for name in ("one", "two"))
    recipe = ToyRecipe(folder=str(folder), name="mine")
    mine = replace(workspace(tmp_path, recipe), store=one)
    everything(mine)
    other = replace(workspace(tmp_path, ToyRecipe(folder=str(folder), name="other", factor=2)), store=two)
    assert find_garbage(other, keep_last=0).artifacts == []
    collect(other, find_garbage(other, keep_last=0, forget=["mine"]))
    assert one.remembered() == {}
    assert {path.split("/")[2] for path in one.fs.find(one.base)} == {"letters"}  # which the other recipe resolves to


def test_the_registry_makes_no_other_recipe(tmp_path):
    written = laptop()
    crawls = {"more": SampleWeb(day=2)}
    assert recipe_label(written.with_registered(crawls)) == recipe_label(written)
    assert recipe_label(written.replace(registered_crawls="all").with_registered(crawls)) == recipe_label(
        written.replace(registered_crawls="all")
    )
    assert recipe_label(written.replace(tokenizer=written.tokenizer.replace(vocabulary=512))) != recipe_label(written)


def test_gc_keeps_inputs_of_an_older_version_that_is_kept(tmp_path, folder):
    everything(workspace(tmp_path / "store", ToyRecipe(folder=str(folder), factor=5)))
    new = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    materialize(WORDS, "a", new)
    # `total` of the old recipe is the newest of its kind, so the old `words` that it was built from stays as well.
    assert find_garbage(new, keep_last=1).artifacts == []


def test_gc_removes_interrupted_builds_only_when_old_and_free(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    identity = ws.resolver().resolve("letters", "a").identity
    staging = ws.store.open_staging(identity)
    assert find_garbage(ws, staging_days=1).staging == []
    os.utime(staging, (time.time() - 10 * 86_400,) * 2)
    assert find_garbage(ws, staging_days=1).staging == [staging]
    with ws.store.lock(identity):
        assert find_garbage(ws, staging_days=1).staging == []


def test_adopt_takes_in_data_that_fits_its_schema(tmp_path, folder):
    recipe = ToyRecipe(folder=str(folder))
    source = materialize(LETTERS, "a", workspace(tmp_path / "elsewhere", recipe)).artifact
    shutil.copytree(source.path / "letters", tmp_path / "data-there" / "letters")
    ws = workspace(tmp_path / "store", recipe)
    adopted = adopt(LETTERS, "a", ws, tmp_path / "data-there")
    assert adopted.record.adopted and adopted.data_version == source.data_version
    assert materialize(LETTERS, "a", ws).cached
    with pytest.raises(ArtifactError, match="in the store already"):
        adopt(LETTERS, "a", ws, tmp_path / "data-there")


def test_adopt_takes_only_the_data_of_an_artifact_of_another_store(tmp_path, folder):
    recipe = ToyRecipe(folder=str(folder))
    there, here = workspace(tmp_path / "elsewhere", recipe), workspace(tmp_path / "store", recipe)
    source = everything(there)["total"]
    shown(replace(TOTAL, show=lambda total: {"numbers": "140"}), source)
    for stage in (LETTERS, WORDS):
        materialize(stage, "a", here)
    adopted = adopt(TOTAL, None, here, source.path)
    assert adopted.data_version == source.data_version and adopted.record.files == source.record.files
    assert adopted.record.views == ["total.txt"]
    assert adopted.view("total.txt").read_text() == "140 letters of words/a"
    assert not adopted.view(SHOWN).exists()


def test_adopt_reads_optional_tables_too(tmp_path, folder):
    recipe = ToyRecipe(folder=str(folder))
    source = materialize(LETTERS, "a", workspace(tmp_path / "elsewhere", recipe)).artifact
    optional = replace(LETTERS, optional_tables={"further": Letters})
    shutil.copytree(source.path / "letters", tmp_path / "there" / "letters")
    shutil.copytree(source.path / "letters", tmp_path / "there" / "further")
    here = workspace(tmp_path / "store", recipe)
    here.graph = Graph([optional])
    assert adopt(optional, "a", here, tmp_path / "there").record.rows == {"letters": 20, "further": 20}
    frame = pl.read_parquet(tmp_path / "there" / "further")
    frame.with_columns(letters=-pl.col("letters")).write_parquet(tmp_path / "there" / "further" / "file0.parquet")
    again = workspace(tmp_path / "another", recipe)
    again.graph = here.graph
    with pytest.raises(TableInvalid, match=r"further/file0\.parquet"):
        adopt(optional, "a", again, tmp_path / "there")


def test_what_checks_found_goes_with_the_artifact(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    total = everything(ws)["total"]
    remembered = ws.store.root / ".checks" / total.record.short
    examine(TOTAL.checks[0], ws.resolver().resolve("total", None), ws.recipe, ws.store)
    assert list(remembered.iterdir())
    ws.store.delete(total)
    assert not remembered.exists()


def test_adopt_refuses_what_breaks_the_schema(tmp_path, folder):
    (tmp_path / "bad" / "letters").mkdir(parents=True)
    broken = pl.DataFrame({"name": ["x"], "letters": [-1], "doc_id": ["d"]})
    broken.write_parquet(tmp_path / "bad" / "letters" / "one.parquet")
    with pytest.raises(TableInvalid, match=r"one\.parquet: 1 failures of Letters"):
        adopt(LETTERS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder))), tmp_path / "bad")
    with pytest.raises(ArtifactError, match=r"no letters/\*\.parquet"):
        adopt(LETTERS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder))), tmp_path)


def test_lineage_goes_up_and_down(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    built = everything(ws)
    assert [a.record.key for a in upstream(ws.store, built["total"])] == ["words/a", "letters/a"]
    assert [a.record.key for a in downstream(ws.store, built["letters"])] == ["words/a", "total"]


def test_a_document_is_found_in_every_table(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    built = everything(ws)
    found = trace_document(list(built.values()), "file1-line1x")
    assert [(s.key, s.row["letters"]) for s in found] == [("letters/a", 6), ("words/a", 6)]
    assert trace_document([built["total"]], "nothing") == []
    assert TOTAL.name == "total"
