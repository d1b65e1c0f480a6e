"""A local store that is copied to a URL: everything goes, nothing is overwritten, and takedowns hold in both."""

import pytest
from click.testing import CliRunner

from llm_assets.artifacts import ArtifactError, CorruptArtifact, materialize
from llm_assets.artifacts.copying import copy_store
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.purge import MarkedModel, Takedowns
from llm_assets.artifacts.record import RECORD, file_digest, write_atomic
from llm_assets.cli import cli
from tests.support.toy import GRAPH, LETTERS, ToyRecipe, machine, make_folder, workspace

RULE = "page.example"


@pytest.fixture
def local(tmp_path):
    pytest.importorskip("obstore")
    return workspace(tmp_path / "store", ToyRecipe(folder=str(make_folder(tmp_path / "in"))))


@pytest.fixture
def url(tmp_path):
    return f"local://{tmp_path}/shared"


def build_all(ws):
    return {stage.name: materialize(stage, "a" if stage.per_crawl else None, ws).artifact for stage in GRAPH}


def save_takedown(store, finished="2026-01-02T00:00:00+00:00", **fields):
    takedowns = Takedowns(store)
    takedowns.save(takedowns.load_or_new(RULE).model_copy(update={"finished": finished, **fields}))


def model(identity):
    return MarkedModel(key="base_checkpoint", identity=identity, data_version="1")


def change_file(artifact):
    """Other bytes in an artifact's only file, as a takedown writes them, with their record. Returns the new version."""
    (name,) = artifact.record.files
    path = artifact.folder / name
    path.write_bytes(path.read_bytes()[::-1])
    entry = artifact.record.files[name].model_copy(update={"sha256": file_digest(path)})
    record = artifact.record.model_copy(update={"files": {name: entry}, "data_version": "changed"})
    write_atomic(artifact.folder / RECORD, record.dump())
    return record.data_version


def test_a_local_store_is_copied_to_a_url_with_its_takedowns(tmp_path, local, url, monkeypatch):
    built = build_all(local)
    save_takedown(local.store)
    monkeypatch.setenv("LLM_ASSETS_STORE", str(tmp_path / "store"))
    first, again = (CliRunner().invoke(cli, ["artifacts", "copy", url]).output for _ in range(2))
    assert first == f"3 artifacts copied to {url}, 0 were there\n"
    assert again == f"0 artifacts copied to {url}, 3 were there\n"
    ws = machine(url, tmp_path / "data" / "cache", local.recipe)
    assert Takedowns(ws.store).load_all() == Takedowns(local.store).load_all()
    for stage in GRAPH:
        shared = materialize(stage, "a" if stage.per_crawl else None, ws)
        assert shared.cached and shared.artifact.record == built[stage.name].record
        for name in shared.artifact.record.files:
            assert shared.artifact.file(name).read_bytes() == built[stage.name].file(name).read_bytes()
    monkeypatch.setenv("LLM_ASSETS_STORE", url)
    refused = CliRunner().invoke(cli, ["artifacts", "copy", url])
    assert refused.exit_code == 1 and "from a local folder" in refused.output


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"?"])
def test_a_damaged_artifact_is_named_and_not_published(tmp_path, local, url, damage):
    path = build_all(local)["letters"].file("letters/file1.parquet")
    path.write_bytes(damage(path.read_bytes()))
    target = machine(url, tmp_path / "machine", local.recipe).store
    with pytest.raises(CorruptArtifact, match=r"file1\.parquet"):
        copy_store(local.store, target)
    assert not list(target.artifacts("letters"))


def test_gc_at_the_url_keeps_what_another_recipe_needs(tmp_path, local, url):
    build_all(local)
    edited = local.recipe.model_copy(update={"factor": 3, "name": "edited"})
    build_all(workspace(tmp_path / "store", edited))
    ws = machine(url, tmp_path / "machine", edited)
    copy_store(local.store, ws.store)
    assert find_garbage(ws, keep_last=0).artifacts == []
    assert ws.store.remembered_recipes() == local.store.remembered_recipes()
    assert ws.store.latest("total", None).record == local.store.latest("total", None).record


def test_other_files_for_one_identity_are_refused_by_name(tmp_path, local, url):
    total = build_all(local)["total"]
    target = machine(url, tmp_path / "machine", local.recipe).store
    copy_store(local.store, target)
    before = [(item.key, item.etag) for folder in ("total", ".records") for item in target.objects.list(folder)]
    change_file(total)
    with pytest.raises(ArtifactError, match=rf"other files .*: total {total.record.short_id}; remove"):
        copy_store(local.store, target)
    with pytest.raises(ArtifactError, match="other files"):  # also if it was published during the copy
        target.upload(next(local.store.artifacts("total")))
    assert before == [(item.key, item.etag) for folder in ("total", ".records") for item in target.objects.list(folder)]


def test_what_a_takedown_removed_here_must_go_at_the_url_first(tmp_path, local, url):
    """Words hold a page: the takedown changes letters in place, and deletes what was made from them."""
    built = build_all(local)
    target = machine(url, tmp_path / "machine", local.recipe).store
    copy_store(local.store, target)
    words = next(target.artifacts("words"))
    local.store.delete(built["words"])
    save_takedown(local.store, removed={words.record.short_id: "words/a"})
    with pytest.raises(ArtifactError, match=rf"page\.example removed elsewhere: words/a {words.record.short_id}; run"):
        copy_store(local.store, target)
    assert Takedowns(target).load_all() == []
    target.delete(words)
    save_takedown(target)
    assert copy_store(local.store, target) == (0, 2)


def test_what_a_takedown_changed_here_must_be_changed_at_the_url_first(tmp_path, local, url):
    total = build_all(local)["total"]
    target = machine(url, tmp_path / "machine", local.recipe).store
    copy_store(local.store, target)
    save_takedown(local.store, versions={f"total {total.data_version}": change_file(total)})
    with pytest.raises(ArtifactError, match=rf"removed elsewhere: total {total.record.short_id}"):
        copy_store(local.store, target)


def test_what_a_takedown_removed_at_the_url_does_not_come_back(tmp_path, local, url):
    short_id = build_all(local)["words"].record.short_id
    target = machine(url, tmp_path / "machine", local.recipe).store
    save_takedown(target, removed={short_id: "words/a"})
    with pytest.raises(ArtifactError, match=rf"{local.store.root} still has .*: words/a {short_id}"):
        copy_store(local.store, target)
    assert list(target.artifacts()) == []


def test_a_takedown_of_both_stores_keeps_the_models_that_either_marks(tmp_path, local, url):
    target = machine(url, tmp_path / "machine", local.recipe).store
    save_takedown(local.store, models=[model("a"), model("b")], cleared=["b"])
    save_takedown(target, models=[model("b"), model("c")], cleared=["c"], urls=7)
    copy_store(local.store, target)
    (takedown,) = Takedowns(target).load_all()
    assert {item.identity for item in takedown.models} == {"a", "b", "c"}
    assert (takedown.cleared, takedown.urls) == (["c"], 7)


@pytest.mark.parametrize("place", ["here", "at the URL"])
def test_nothing_is_copied_during_a_takedown(tmp_path, local, url, place):
    materialize(LETTERS, "a", local)
    target = machine(url, tmp_path / "machine", local.recipe).store
    save_takedown(local.store if place == "here" else target, finished=None)
    with pytest.raises(ArtifactError, match="not finished"):
        copy_store(local.store, target)
    assert list(target.artifacts()) == []
