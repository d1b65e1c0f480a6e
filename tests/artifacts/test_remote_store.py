"""A store at an S3 server: what it reads and writes there, and what it shares between machines."""

import json
import os
import pickle
import random
import sqlite3
from pathlib import Path

import polars as pl
import pytest

from llm_assets.artifacts import CorruptArtifact, RemoteStore, StoreUnreachable, materialize, object_index, objects
from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.gc import collect, find_garbage
from llm_assets.artifacts.identity import recipe_label
from llm_assets.artifacts.lease import Lease
from llm_assets.artifacts.lineage import downstream, trace_document, upstream
from llm_assets.artifacts.objects import ObjectStore
from llm_assets.artifacts.old_layout import CONVERSION, convert
from llm_assets.artifacts.record import RECORD, FileEntry, data_version, file_digest
from tests.support.object_server import DENIED, object_server
from tests.support.toy import GRAPH, LETTERS, TOTAL, ToyRecipe, letters_task, machine, make_folder, workspace


@pytest.fixture
def server(monkeypatch):
    return object_server(monkeypatch)


@pytest.fixture
def recipe(tmp_path):
    return ToyRecipe(folder=str(make_folder(tmp_path / "in")))


def build_all(ws):
    return {stage.name: materialize(stage, "a" if stage.per_crawl else None, ws).artifact for stage in GRAPH}


def contents(artifact):
    return {name: artifact.file(name).read_bytes() for name in artifact.record.files}


def test_machines_share_artifacts_whose_bytes_are_those_of_a_local_store(server, tmp_path, recipe):
    url = server.new_bucket()
    built = build_all(machine(url, tmp_path / "machine1", recipe))
    local = build_all(workspace(tmp_path / "store", recipe))
    second = machine(url, tmp_path / "machine2", recipe)
    for stage in GRAPH:
        shared = materialize(stage, "a" if stage.per_crawl else None, second)
        assert shared.cached
        assert shared.artifact.record.files == built[stage.name].record.files == local[stage.name].record.files
        assert contents(shared.artifact) == contents(local[stage.name])


def test_files_are_downloaded_when_they_are_read_and_not_before(server, tmp_path, recipe):
    url = server.new_bucket()
    build_all(machine(url, tmp_path / "machine1", recipe))
    second = machine(url, tmp_path / "machine2", recipe)
    server.requests.clear()
    letters, _, words = second.store.artifacts()
    assert [state.state for state in explain(second)] == ["cached"] * 3
    assert upstream(second.store, words) == [letters] and len(downstream(second.store, letters)) == 2
    find_garbage(second)
    assert not [path for _, path, _ in server.requests if "/files/" in path]
    assert letters.file("letters/file1.parquet").exists()
    assert len([path for _, path, _ in server.requests if "/files/" in path]) == 1
    assert len(list(letters.path.glob("letters/*.parquet"))) == 4  # the folder with all its files


def test_records_are_read_once_and_by_one_request_on_a_new_machine(server, tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(object_index, "SHARED_FROM", 3)
    url = server.new_bucket()
    build_all(machine(url, tmp_path / "machine1", recipe))
    assert len(list(RemoteStore(url, tmp_path / "machine2").artifacts())) == 3  # which leaves the shared index
    # A listing; on a new machine also whether an old store is half converted, and the shared index.
    for cache, requests in (("machine2", 1), ("machine3", 3)):
        server.requests.clear()
        assert len(list(RemoteStore(url, tmp_path / cache).artifacts())) == 3
        assert len(server.requests) == requests


def test_an_unreadable_cache_of_records_costs_only_time(server, tmp_path, recipe):
    url = server.new_bucket()
    materialize(LETTERS, "a", machine(url, tmp_path / "machine1", recipe))
    (tmp_path / "machine1" / ".objects.sqlite").write_bytes(b"no database" * 1000)
    assert len(list(RemoteStore(url, tmp_path / "machine1").artifacts())) == 1


def test_a_part_of_the_records_does_not_replace_the_shared_ones(server, tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(object_index, "SHARED_FROM", 1)
    store = machine(server.new_bucket(), tmp_path / "machine1", recipe).store
    store.objects.put(".records/a/_/1.json", b"{}")
    store.objects.put(".records/b/_/2.json", b"{}")
    index = object_index.ObjectIndex(store.objects, tmp_path)
    assert len(index.contents(".records", ".records/a/")) == 1
    assert store.objects.list(".index") == []


def test_a_cache_of_records_that_is_locked_is_not_removed(tmp_path, monkeypatch):
    pytest.importorskip("obstore")
    index = object_index.ObjectIndex(ObjectStore(f"local://{tmp_path}/url"), tmp_path)
    index._objects.put(".records/a", b"{}")
    assert index.contents(".records") == {".records/a": b"{}"}

    def locked(connection):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(index, "_create_table", locked)
    with pytest.raises(sqlite3.OperationalError):
        index.contents(".records")
    assert (tmp_path / ".objects.sqlite").exists()


def test_an_artifact_can_be_sent_to_a_worker_while_its_store_builds(server, tmp_path, recipe):
    ws = machine(server.new_bucket(), tmp_path / "machine1", recipe)
    artifact = materialize(LETTERS, "a", ws).artifact
    with ws.store.lock(ws.resolver().resolve("words", "a").identity):
        assert contents(pickle.loads(pickle.dumps(artifact))) == contents(artifact)


def test_a_new_machine_is_told_what_has_changed_since_the_last_build(server, tmp_path, recipe):
    url = server.new_bucket()
    build_all(machine(url, tmp_path / "machine1", recipe))
    edited = machine(url, tmp_path / "machine2", recipe.model_copy(update={"factor": 3}))
    assert [item.text() for item in explain(edited, [("words", "a")])] == ["would build: config.factor: 1 → 3"]


def test_a_document_is_traced_without_downloading_its_table(server, tmp_path, recipe, monkeypatch):
    url = server.new_bucket()
    rows = 30_000
    rng = random.Random(1)
    lines = [f"{number}-{rng.randbytes(60).hex()}" for number in range(rows)]
    (Path(recipe.folder) / "a" / "file0.txt").write_text("\n".join(lines))
    built = materialize(LETTERS, "a", machine(url, tmp_path / "machine1", recipe)).artifact
    (stored,) = RemoteStore(url, tmp_path / "machine2").artifacts()
    monkeypatch.setattr("llm_assets.artifacts.remote_files._RANGE_BUFFER", 1 << 16)
    server.requests.clear()
    document = f"file0-{lines[20_000]}"
    (sighting,) = trace_document([stored], document)
    assert sighting == trace_document([built], document)[0]
    file = stored.record.files["letters/file0.parquet"]
    read = sum(size for _, path, size in server.requests if path.endswith("file0.parquet"))
    assert 0 < read < 0.9 * file.bytes  # one of the two columns of texts, and one row group of the other
    assert not stored.folder.exists()


def test_results_of_checks_are_shared_and_removed_with_the_artifact(server, tmp_path, recipe, monkeypatch):
    url, log = server.new_bucket(), tmp_path / "examined"
    monkeypatch.setenv("TOY_CHECKS", str(log))
    for name in ("machine1", "machine2"):
        ws = machine(url, tmp_path / name, recipe)
        total = build_all(ws)["total"]
        examine(TOTAL.checks[0], ws.resolver().resolve("total", None), recipe, ws.store)
    assert log.read_text().splitlines() == ["examined"]
    ws.store.delete(total)
    assert ws.store.objects.list(".checks") == []


def test_the_url_of_a_remote_store_is_no_pattern(server, tmp_path, recipe):
    url = f"{server.new_bucket()}/a[1]"
    materialize(LETTERS, "a", machine(url, tmp_path / "machine1", recipe))
    assert [a.record.key for a in RemoteStore(url, tmp_path / "machine2").artifacts()] == ["letters/a"]


def test_bytes_that_differ_from_the_record_are_refused(server, tmp_path, recipe):
    url = server.new_bucket()
    materialize(LETTERS, "a", machine(url, tmp_path / "machine1", recipe))
    store = ObjectStore(url)
    damaged, removed = (item for item in store.list("letters") if item.key.endswith(("file0.parquet", "file1.parquet")))
    store.put(damaged.key, b"x" * damaged.bytes)
    store.delete([removed.key])
    (artifact,) = RemoteStore(url, tmp_path / "machine2").artifacts()
    with pytest.raises(CorruptArtifact, match=r"file0.parquet: the bytes are not those of its record"):
        artifact.file("letters/file0.parquet")
    with pytest.raises(CorruptArtifact, match=r"file1.parquet: is missing; delete s3://.*json to rebuild it"):
        artifact.file("letters/file1.parquet")
    assert not list(artifact.folder.glob("letters/*"))
    with artifact.open("letters/file1.parquet") as stream, pytest.raises(CorruptArtifact, match="is missing; delete"):
        stream.read(1)


def test_a_bucket_that_does_not_exist_is_a_clear_error_of_writes(server):
    store = ObjectStore("s3://bucket-never/store")
    with pytest.raises(StoreUnreachable, match="create the bucket"):
        store.put("a", b"x")


def test_a_large_file_goes_up_in_parts_and_comes_down_by_ranges(server, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)  # the least that S3 accepts
    file = tmp_path / "large [1]*?%41 ü.bin"
    file.write_bytes(os.urandom(11 << 20))
    store = ObjectStore(server.new_bucket())
    server.requests.clear()
    store.upload(file, f"files/{file.name}")
    assert [method for method, _, _ in server.requests].count("PUT") == 3
    store.download(f"files/{file.name}", file.stat().st_size, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()


def test_gc_removes_artifacts_at_the_url(server, tmp_path, recipe):
    url = server.new_bucket()
    build_all(machine(url, tmp_path / "machine1", recipe.model_copy(update={"factor": 5})))
    ws = machine(url, tmp_path / "machine2", recipe)
    needed = {artifact.record.identity for artifact in build_all(ws).values()}
    garbage = find_garbage(ws, keep_last=0, forget=["toy"])
    assert {artifact.record.key for artifact in garbage.artifacts} == {"words/a", "total"}
    collect(ws, garbage)
    assert {artifact.record.identity for artifact in RemoteStore(url, tmp_path / "machine3").artifacts()} == needed
    places = {item.key.split("/")[0] for item in ObjectStore(url).list("") if "/files/" in item.key}
    assert places == {"letters", "words", "total"}
    assert len([item for item in ObjectStore(url).list("words") if "/files/" in item.key]) == 1


def test_gc_removes_interrupted_uploads_that_nobody_is_at_work_on(server, tmp_path, recipe):
    ws = machine(server.new_bucket(), tmp_path / "machine1", recipe)
    identity = ws.resolver().resolve("letters", "a").identity
    with ws.store.lock(identity):
        staging = ws.store.remote_staging(identity)
        letters_task(tmp_path / "worker", "file0", Path(recipe.folder) / "a" / "file0.txt", False, 0.0)
        staging.store_task(tmp_path / "worker", "file0")
        assert find_garbage(ws, staging_days=0).uploads == []
    assert find_garbage(ws, staging_days=1).uploads == []
    (upload,) = find_garbage(ws, staging_days=0).uploads
    assert upload.key == "letters/a" and upload.bytes > 0
    collect(ws, find_garbage(ws, staging_days=0))
    assert ws.store.objects.list("letters") == ws.store.objects.list(".staging") == []


def test_workers_without_a_shared_disk_build_an_artifact_that_is_byte_identical(server, tmp_path, recipe):
    """A step whose tasks are finished by workers at the URL, taken over by a second builder half-way."""
    url = server.new_bucket()
    reference = materialize(LETTERS, "a", workspace(tmp_path / "local", recipe)).artifact
    ws = machine(url, tmp_path / "machine1", recipe)
    identity = ws.resolver().resolve("letters", "a").identity
    assert identity is not None

    def work(staging, name):
        letters_task(tmp_path / name, name, Path(recipe.folder) / "a" / f"{name}.txt", False, 0.0)
        staging.store_task(tmp_path / name, name)

    with ws.store.lock(identity):
        first = ws.store.remote_staging(identity)
        work(first, "file0")
        work(first, "file1")
    with ws.store.lock(identity):
        second = ws.store.remote_staging(identity)
        assert sorted(second.markers()) == ["file0", "file1"] and first.markers() == {}
        work(first, "file2")  # too late: a worker of the builder that was taken over
        assert sorted(second.markers()) == ["file0", "file1"]
        work(second, "file2")
        work(second, "file3")
        folder = ws.store.open_staging(identity)
        second.save_markers(folder)
        second.fetch("file3", ["letters/file3.parquet"], tmp_path / "fetched")
        files = {name: FileEntry(**entry) for m in second.markers().values() for name, entry in m["files"].items()}
        record = reference.record.model_copy(update={"files": files, "data_version": data_version(files)})
        published = ws.store.publish(identity, folder, record)
    assert published.record.files == reference.record.files and contents(published) == contents(reference)
    assert file_digest(tmp_path / "fetched/letters/file3.parquet") == files["letters/file3.parquet"].sha256
    assert ws.store.objects.list(".staging") == []


def test_what_the_record_does_not_name_is_removed_when_an_artifact_is_published(server, tmp_path, recipe):
    ws = machine(server.new_bucket(), tmp_path / "machine1", recipe)
    identity = ws.resolver().resolve("letters", "a").identity
    with ws.store.lock(identity):  # an earlier builder, whose task wrote other bytes
        staging = ws.store.remote_staging(identity)
        assert staging.token.startswith("00000001-")  # the markers of the tenth builder sort after those of the ninth
        letters_task(tmp_path / "worker", "file0", Path(recipe.folder) / "a" / "file0.txt", True, 0.0)
        staging.store_task(tmp_path / "worker", "file0")
    artifact = materialize(LETTERS, "a", ws).artifact
    (stored,) = RemoteStore(ws.store.url, tmp_path / "machine2").artifacts()
    assert stored.record == artifact.record
    assert {item.key for item in ws.store.objects.list("letters")} == stored.remote.keys()
    letters_task(tmp_path / "late", "file1", Path(recipe.folder) / "a" / "file1.txt", True, 0.0)
    place = f".staging/letters/a/{identity.short_id}"
    for announcement in ([], [f"{place}/upload.json"]):  # which the builder may remove after the worker has written it
        pickle.loads(pickle.dumps(staging)).store_task(tmp_path / "late", "file1")  # of a worker that is late
        ws.store.objects.delete(announcement)
        with ws.store.lock(identity):
            assert ws.store.interrupted_uploads(days=0) == []
        collect(ws, find_garbage(ws, staging_days=0))
        assert {item.key for item in ws.store.objects.list("letters")} == stored.remote.keys()
        assert ws.store.objects.list(".staging") == []


def test_an_error_after_the_record_is_written_does_not_undo_the_build(server, tmp_path, recipe, caplog):
    ws = machine(server.new_bucket(), tmp_path / "machine1", recipe)
    with server.fault(*DENIED, applies=lambda method, path, key_id: method == "POST"):  # deletions
        assert not materialize(LETTERS, "a", ws).cached
    assert "letters/a: published; what its builders left at the URL was not removed" in caplog.text
    assert len(list(RemoteStore(ws.store.url, tmp_path / "machine2").artifacts())) == 1
    assert len(find_garbage(ws, staging_days=0).uploads) == 1


def test_a_deletion_that_was_killed_is_finished_by_the_next_try(server, tmp_path, recipe, monkeypatch):
    ws = machine(server.new_bucket(), tmp_path / "machine1", recipe)
    artifact = materialize(LETTERS, "a", ws).artifact
    record = artifact.record
    assert artifact.file("letters/file0.parquet").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "release", lambda held: held._end_renewals())
        delete = ObjectStore._delete

        def die(objects, keys):
            """Remove one object, and end if it was one of several."""
            delete(objects, keys[:1])
            if len(keys) > 1:
                raise KeyboardInterrupt

        patch.setattr(ObjectStore, "_delete", die)
        with pytest.raises(KeyboardInterrupt):
            ws.store.delete(artifact)
    assert len(ws.store.objects.list("letters")) == 3 and artifact.folder.exists()
    (upload,) = ws.store.interrupted_uploads(days=0)  # though its claim has not expired
    assert upload.key == "letters/a"
    ws.store.remove_leftovers(record.short_id, record.key)
    assert ws.store.objects.list("letters") == ws.store.objects.list(".staging") == []
    assert not artifact.folder.exists()


def test_a_removed_upload_is_not_published_by_a_decision_of_its_builder(server, tmp_path, recipe, monkeypatch):
    ws = machine(server.new_bucket(), tmp_path / "machine1", recipe)
    with monkeypatch.context() as patch:
        patch.setattr(RemoteStore, "_write_record", None)
        patch.setattr(Lease, "release", lambda held: held._end_renewals())
        with pytest.raises(TypeError):
            materialize(LETTERS, "a", ws)
    (upload,) = ws.store.interrupted_uploads(days=0)
    ws.store.remove_upload(upload)
    with ws.store.lock(ws.resolver().resolve("letters", "a").identity):
        assert list(ws.store.artifacts()) == []
    assert ws.store.objects.list("letters") == ws.store.objects.list(".staging") == []


def test_a_note_that_another_machine_removed_is_written_again(server, tmp_path, recipe, monkeypatch):
    url = server.new_bucket()
    ws = machine(url, tmp_path / "machine1", recipe)
    build_all(ws)
    server.requests.clear()
    build_all(ws)
    assert not [path for method, path, _ in server.requests if method == "PUT" and ".recipes" in path]
    RemoteStore(url, tmp_path / "machine2").forget_recipe(recipe_label(recipe))
    build_all(machine(url, tmp_path / "machine1", recipe))
    assert len(ws.store.objects.list(".recipes")) == 3


def store_as_version_0_1(artifacts, local, url):
    """Upload the artifacts of a local store as version 0.1 did: each record beside the data."""
    store = ObjectStore(url)
    for artifact in artifacts:
        place = artifact.folder.relative_to(local).as_posix()
        for name in artifact.record.files:
            store.upload(artifact.file(name), f"{place}/data-abc/{name}")
        envelope = {"data": "data-abc", "record": artifact.record.model_dump(mode="json")}
        store.put(f"{place}/artifact.json", json.dumps(envelope).encode())


def test_the_layout_of_version_0_1_is_converted_though_a_conversion_is_killed(server, tmp_path, recipe, monkeypatch):
    url, create = server.new_bucket(), ObjectStore.create
    local = build_all(workspace(tmp_path / "local", recipe))
    store_as_version_0_1(local.values(), tmp_path / "local", url)

    def die(objects, key, data):
        if key.startswith(".records/words"):
            raise KeyboardInterrupt
        return create(objects, key, data)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ObjectStore, "create", die)
        list(RemoteStore(url, tmp_path / "killed").artifacts())
    converted = {item.key.split("/")[1] for item in ObjectStore(url).list(".records")}
    assert converted == {"letters", "total"}
    for folder in ("killed", "another"):
        artifacts = {artifact.record.asset: artifact for artifact in RemoteStore(url, tmp_path / folder).artifacts()}
        assert {name: contents(artifact) for name, artifact in artifacts.items()} == {
            name: contents(artifact) for name, artifact in local.items()
        }
    assert materialize(TOTAL, None, machine(url, tmp_path / "another", recipe)).cached
    assert ObjectStore(url).get(CONVERSION) is None


def test_a_record_that_a_conversion_has_written_is_not_written_again(server, tmp_path, recipe):
    """Another machine may have changed the artifact since."""
    url = server.new_bucket()
    artifact = materialize(LETTERS, "a", workspace(tmp_path / "local", recipe)).artifact
    store_as_version_0_1([artifact], tmp_path / "local", url)
    store = ObjectStore(url)
    (record,) = [item.key for item in store.list("letters") if item.key.endswith(RECORD)]
    store.put(f".records/{record.removesuffix('/' + RECORD)}.json", b"changed")
    store.put(CONVERSION, b"")
    convert(store, has_records=True)
    assert [store.get(item.key) for item in store.list(".records")] == [b"changed"]


def test_an_artifact_that_was_changed_in_place_is_read_again_on_other_machines(server, tmp_path, recipe):
    url = server.new_bucket()
    first, second = (machine(url, tmp_path / name, recipe) for name in ("machine1", "machine2"))
    artifact = materialize(LETTERS, "a", first).artifact
    (copy,) = second.store.artifacts()
    assert copy.file("letters/file0.parquet").exists()
    pl.read_parquet(artifact.file("letters/file0.parquet")).head(1).write_parquet(
        artifact.folder / "letters/file0.parquet"
    )
    changed = artifact.folder / "letters/file0.parquet"
    entry = FileEntry(bytes=changed.stat().st_size, sha256=file_digest(changed))
    files = {**artifact.record.files, "letters/file0.parquet": entry}
    record = artifact.record.model_copy(update={"files": files, "data_version": data_version(files)})
    first.store.replace(artifact, type(artifact)(artifact.folder, record))
    (again,) = RemoteStore(url, tmp_path / "machine2").artifacts()
    assert len(pl.read_parquet(again.file("letters/file0.parquet"))) == 1
    assert len([item for item in first.store.objects.list("letters") if item.key.endswith("file0.parquet")]) == 1


def test_a_store_in_a_shared_folder_needs_no_server(tmp_path, recipe):
    pytest.importorskip("obstore")
    url = f"local://{tmp_path}/shared"
    build_all(machine(url, tmp_path / "machine1", recipe))
    assert materialize(TOTAL, None, machine(url, tmp_path / "machine2", recipe)).cached
