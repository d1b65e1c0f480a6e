"""A store at ``gs://``: obstore's client for Google, and a server that answers as Google documents its XML API.

https://docs.cloud.google.com/storage/docs/xml-api/reference-headers#xgoogifgenerationmatch
https://docs.cloud.google.com/storage/docs/xml-api/delete-object
"""

import json
import threading

import pytest

from llm_assets.artifacts import StoreUnreachable, materialize
from llm_assets.artifacts.gc import collect, find_garbage
from llm_assets.artifacts.objects import PART_BYTES, ObjectStore
from tests.support.object_server import object_server
from tests.support.toy import LETTERS, ToyRecipe, machine, make_folder


@pytest.fixture
def url(monkeypatch):
    server = object_server(monkeypatch)
    monkeypatch.setattr(server, "as_google", True)
    monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{server.port}")
    key = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(key))
    return server.new_bucket("gs")


def test_of_many_writers_one_creates_an_object(url):
    ObjectStore(url).require_conditional_writes()
    created = []

    def create(number):
        if ObjectStore(url).create("claim", b"%d" % number):
            created.append(b"%d" % number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert created == [ObjectStore(url).get("claim")]


def test_a_deletion_skips_objects_that_are_absent(url):
    objects = ObjectStore(url)
    keys = [f"folder/{number}" for number in range(40)]
    for key in keys[::2]:
        objects.put(key, b"x")
    objects.delete(keys)
    assert objects.list("folder") == [] and objects.get(keys[0]) is None


def test_a_listing_of_some_folders_shows_these_alone(url):
    objects = ObjectStore(url)
    for key in ("f/a/1", "f/b/1", "f/b/2", "f/c/1", "f/d/1", "g/b/1"):
        objects.put(key, b"x")
    assert [item.key for item in objects.list("f", ("b", "c"))] == ["f/b/1", "f/b/2", "f/c/1"]


def test_a_large_file_goes_up_in_parts_and_comes_down_by_ranges(url, tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * (PART_BYTES // 256 + 1))
    objects, size = ObjectStore(url), (tmp_path / "file").stat().st_size
    objects.upload(tmp_path / "file", "a b/ü=1")
    assert [(item.key, item.bytes) for item in objects.list("a b")] == [("a b/ü=1", size)]
    objects.download("a b/ü=1", size, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()


def test_a_bucket_that_does_not_exist_is_a_clear_error(url):
    objects = ObjectStore(f"{url.removesuffix('/store')}-absent/store")
    for request in (lambda: objects.put("a", b"x"), lambda: objects.delete(["a", "b"])):
        with pytest.raises(StoreUnreachable, match="create the bucket, or correct LLM_ASSETS_STORE"):
            request()


def test_machines_share_artifacts_and_garbage_is_removed(url, tmp_path):
    recipe = ToyRecipe(folder=str(make_folder(tmp_path / "in")))
    upper = recipe.model_copy(update={"upper": True})
    first, second = (machine(url, tmp_path / name, recipe) for name in ("machine1", "machine2"))
    assert not materialize(LETTERS, "a", machine(url, tmp_path / "machine1", upper)).cached
    assert not materialize(LETTERS, "a", first).cached and materialize(LETTERS, "a", second).cached
    garbage = find_garbage(second, keep_last=0, forget=["toy"])
    assert len(garbage.artifacts) == 1
    collect(second, garbage)
    (artifact,) = machine(url, tmp_path / "machine3", recipe).store.artifacts()
    assert {item.key for item in ObjectStore(url).list("letters")} == set(artifact.remote.keys())
