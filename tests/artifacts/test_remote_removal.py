"""Deleting many artifacts at a URL: few requests, and the rules of a single deletion."""

import hashlib

import pytest

from llm_assets.artifacts import LeaseLost, materialize
from llm_assets.artifacts.errors import BeingBuilt
from llm_assets.artifacts.gc import Garbage, collect, find_garbage
from llm_assets.artifacts.lease import Lease, claims_folder, last_claim, new_claim
from llm_assets.artifacts.objects import ObjectStore
from llm_assets.artifacts.remote_files import file_key, new_record_object
from llm_assets.artifacts.remote_leftovers import Upload
from llm_assets.artifacts.remote_removal import Claims
from tests.support.object_server import object_server
from tests.support.toy import LETTERS, ToyRecipe, machine, make_folder

COUNT = 30


@pytest.fixture
def server(monkeypatch):
    return object_server(monkeypatch)


def many(ws, count=COUNT):
    """The stored records of `count` artifacts with two files each: copies of one that was built."""
    record = materialize(LETTERS, "a", ws).artifact.record
    files = dict(list(record.files.items())[:2])
    for number in range(count):
        partition = f"crawl{number}"
        identity = hashlib.sha256(partition.encode()).hexdigest()
        copy = record.model_copy(update={"partition": partition, "identity": identity, "files": files})
        ws.store.objects.put(*new_record_object(copy))
        for name, entry in files.items():
            ws.store.objects.put(file_key(f"letters/{partition}/{copy.short_id}", name, entry), b"x")
    ws.store.forget_listing(".records")
    return [artifact for artifact in ws.store.artifacts() if artifact.record.partition != "a"]


@pytest.fixture
def ws(server, tmp_path):
    return machine(server.new_bucket(), tmp_path / "machine1", ToyRecipe(folder=str(make_folder(tmp_path / "in"))))


def keys(ws, folder):
    return [item.key for item in ws.store.objects.list(folder)]


def test_each_artifact_takes_few_requests_and_nothing_is_left(server, ws):
    artifacts = many(ws)
    ws.store.write_check(f"{artifacts[0].record.short_id}/check.json", b"{}")
    server.requests.clear()
    ws.store.delete_all(artifacts)
    assert len(server.requests) < 5 * COUNT
    assert [artifact.record.partition for artifact in ws.store.artifacts()] == ["a"]
    assert len(keys(ws, "letters")) == 4 and keys(ws, ".staging") == keys(ws, ".checks") == []
    for artifact in artifacts:  # the next builder may begin
        _, _, claim = last_claim(ws.store.objects, artifact.record.identity)
        assert claim.state == "released" and len(keys(ws, claims_folder(artifact.record.identity))) == 1


@pytest.mark.parametrize("place", ["server", "folder"])
@pytest.mark.parametrize("page", [2, 1000])
def test_a_listing_of_some_folders_shows_these_alone(server, tmp_path, monkeypatch, place, page):
    from llm_assets.artifacts import objects

    monkeypatch.setattr(objects, "_LISTED_AT_ONCE", page)
    store = ObjectStore(server.new_bucket() if place == "server" else f"local://{tmp_path}/objects")
    for key in ("f/a/1", "f/b/1", "f/b/2", "f/bb/1", "f/c/1", "f/c/2", "f/ca/1", "f/d/1", "g/b/1"):
        store.put(key, b"x")
    listed = [item.key for item in store.list("f", ("b", "c"))]
    assert listed == ["f/b/1", "f/b/2", "f/bb/1", "f/c/1", "f/c/2"]
    assert [item.key for item in store.list("f", ("e", "f"))] == []


def test_a_batch_lists_the_claims_and_checks_of_its_artifacts_alone(ws, monkeypatch):
    from llm_assets.artifacts import remote_removal

    artifacts = many(ws)
    for artifact in artifacts:
        ws.store.write_check(f"{artifact.record.short_id}/check.json", b"{}")
    counts = {".locks": [], ".checks": []}
    listing = ObjectStore.list

    def counted(objects, folder, names=None):
        items = listing(objects, folder, names)
        counts.get(folder, []).append(len(items))
        return items

    monkeypatch.setattr(ObjectStore, "list", counted)
    monkeypatch.setattr(remote_removal, "BATCH", 10)
    ws.store.delete_all(artifacts)
    assert counts[".checks"] == [10, 10, 10]
    assert max(counts[".locks"]) <= 21  # two numbers for each, and perhaps the artifact of which they are copies
    assert keys(ws, ".checks") == [] and [item.record.partition for item in ws.store.artifacts()] == ["a"]


def test_what_is_being_built_stays_and_is_named(ws, tmp_path):
    artifacts = many(ws, 4)
    built, here = artifacts[1].record, artifacts[2].record
    claim = new_claim("machine2", built.key, "", "machine2")
    lease = Lease.acquire(ws.store.objects, built.identity, claim)
    other_process, upload = machine(ws.store.url, ws.store.root, ws.recipe).store, Upload("a/_/0", "0" * 64, "a", 1)
    ws.store.objects.put(".staging/a/_/0/file", b"x")
    garbage = Garbage(artifacts, [], [upload], 0, [], [])
    names = rf"{built.key} \w+ is being built by .*{here.key} \w+ is being built by "
    with other_process._lock(here.identity, here.key, None, None), pytest.raises(BeingBuilt, match=names):
        collect(ws, garbage)
    lease.require()
    assert keys(ws, ".staging") == []
    lease.release()
    assert {artifact.record.partition for artifact in ws.store.artifacts()} == {"a", built.partition, here.partition}
    ws.store.delete_all([artifact for artifact in ws.store.artifacts() if artifact.record.partition != "a"])
    assert [artifact.record.partition for artifact in ws.store.artifacts()] == ["a"]


def test_a_batch_of_which_one_was_taken_over_removes_nothing_more(ws, monkeypatch):
    artifacts = many(ws, 3)
    taken = artifacts[0].record
    listing, calls = ObjectStore.list, []

    def take_over(objects, folder, names=None):
        """Before the files are listed, another builder takes the highest number, as if the claim had expired."""
        if folder.startswith("letters/") and not calls:
            calls.append(folder)
            number, _, _ = last_claim(objects, taken.identity)
            objects.create(f"{claims_folder(taken.identity)}/{number + 1:08}", new_claim("b", "k", "", "m").dump())
        return listing(objects, folder, names)

    monkeypatch.setattr(ObjectStore, "list", take_over)
    with pytest.raises(LeaseLost, match=f"{taken.key}: another builder has taken it over"):
        ws.store.delete_all(artifacts)
    monkeypatch.undo()
    assert len(keys(ws, "letters")) == 4 + 3 * 2
    assert last_claim(ws.store.objects, taken.identity)[2].holder == "b"
    assert last_claim(ws.store.objects, artifacts[1].record.identity)[2].state == "released"


def test_a_batch_that_was_killed_is_finished_by_garbage_collection(ws, monkeypatch):
    artifacts = many(ws, 3)
    with monkeypatch.context() as patch:
        delete = Claims.delete

        def die(held, keys):
            delete(held, keys)
            if any("/files/" in key for key in keys):
                raise KeyboardInterrupt

        patch.setattr(Claims, "delete", die)
        patch.setattr(Claims, "_release", lambda held: held._stop.set())
        with pytest.raises(KeyboardInterrupt):
            ws.store.delete_all(artifacts)
    assert len(keys(ws, ".staging")) == 3
    collect(ws, find_garbage(ws, staging_days=0))
    assert keys(ws, ".staging") == [] and len(keys(ws, "letters")) == 4


def test_claims_are_renewed_while_a_batch_is_removed(ws, monkeypatch):
    from llm_assets.artifacts import remote_removal

    (artifact,) = many(ws, 1)
    monkeypatch.setattr(remote_removal, "RENEW_SECONDS", 0.05)
    claim = new_claim("machine1", artifact.record.key, "", "machine1")
    writes = []
    put = ObjectStore.put
    monkeypatch.setattr(ObjectStore, "put", lambda objects, key, data: (writes.append(key), put(objects, key, data)))
    with Claims.acquire(ws.store.objects, {artifact.record.identity: claim}) as held:
        while sum(".locks" in key for key in writes) < 2:
            held._stop.wait(0.02)
        held.require()
    assert not held._renewals.is_alive()
