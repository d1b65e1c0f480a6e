"""The lock of a build at a URL: one builder at a time, and none that was taken over publishes."""

import contextlib
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest

from llm_assets.artifacts import (
    ArtifactError,
    LeaseLost,
    RemoteStore,
    StoreUnreachable,
    lease,
    materialize,
    remote,
)
from llm_assets.artifacts.gc import collect, find_garbage
from llm_assets.artifacts.lease import Lease, claims_folder, is_live, last_claim, new_claim
from llm_assets.artifacts.objects import ObjectStore
from llm_assets.artifacts.record import FileEntry, file_digest
from llm_assets.artifacts.remote_place import ClaimedPlace
from llm_assets.artifacts.remote_staging import ANNOUNCED
from tests.support.object_server import BUSY, object_server
from tests.support.toy import LETTERS, ToyRecipe, machine, make_folder

DIGEST = "ab" * 32
RECORD = {"asset": "letters"}


@pytest.fixture
def url(tmp_path):
    pytest.importorskip("obstore")
    return f"local://{tmp_path}/url"


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)


def acquire(url, machine, on_wait=None):
    return Lease.acquire(ObjectStore(url), DIGEST, new_claim(machine, "letters/a", "", machine), on_wait)


def refuse(holder):
    raise InterruptedError(holder)


def pause(held):
    """Stop renewing, as a process does that hangs or has lost its network."""
    held._end_renewals()


def test_of_many_builders_one_gets_the_lease_at_a_time(url):
    inside, most, order = [], [], []

    def build(name):
        held = acquire(url, name)
        inside.append(name)
        most.append(len(inside))
        time.sleep(0.02)  # long enough for a second builder that gets the lease to be seen inside
        most.append(len(inside))
        order.append(held.token)
        inside.remove(name)
        held.release()

    threads = [threading.Thread(target=build, args=(f"machine{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12
    assert [int(token.partition("-")[0]) for token in order] == sorted(int(t.partition("-")[0]) for t in order)
    assert len(ObjectStore(url).list(claims_folder(DIGEST))) == 1


def test_a_builder_at_work_is_waited_for_and_named(url):
    held = acquire(url, "machine1")
    with pytest.raises(InterruptedError, match="machine1"):
        acquire(url, "machine2", refuse)
    held.release()
    acquire(url, "machine2", refuse).release()


def test_a_lease_that_is_renewed_does_not_expire(url, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
    held, waits_for = acquire(url, "machine1"), []
    second = threading.Thread(target=lambda: acquire(url, "machine2", waits_for.append).release(), daemon=True)
    second.start()
    second.join(2.5)
    assert second.is_alive() and waits_for == ["machine1"]
    held.publish(RECORD)
    held.release()
    second.join(10)
    assert not second.is_alive()


@pytest.mark.parametrize("successor_has_finished", [False, True])
def test_a_builder_that_was_taken_over_cannot_publish(url, monkeypatch, successor_has_finished):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    first = acquire(url, "machine1")
    pause(first)
    second = acquire(url, "machine2")
    if successor_has_finished:  # and has removed the earlier claims
        second.publish(RECORD)
        second.release()
    with pytest.raises(LeaseLost, match=r"letters/a: machine2 has taken over.*Nothing was published"):
        first.publish(RECORD)
    first.release()
    if not successor_has_finished:
        second.publish(RECORD)
        second.release()
    number, _, claim = last_claim(ObjectStore(url), DIGEST)
    assert (number, claim.holder, claim.state) == (3, "machine2", "released")


def test_a_claim_of_the_same_machine_ends_with_its_process(url):
    pause(acquire(url, "machine1"))
    acquire(url, "machine1", refuse).release()  # whoever asks holds the machine's lock


@pytest.mark.parametrize("hours", [-2, 2])
def test_expiry_goes_by_the_stores_clock(monkeypatch, hours):
    """The server's clock is two hours off: a live claim stays, an expired one is taken over."""
    server = object_server(monkeypatch)
    from moto.s3 import models

    right = models.utcnow
    monkeypatch.setattr(models, "utcnow", lambda: right() + timedelta(hours=hours))
    url = server.new_bucket()
    pause(acquire(url, "machine1"))
    with pytest.raises(InterruptedError):
        acquire(url, "machine2", refuse)
    monkeypatch.setattr(models, "utcnow", lambda: right() + timedelta(hours=hours, seconds=lease.LEASE_SECONDS + 2))
    acquire(url, "machine2", refuse).release()


def test_a_server_without_conditional_writes_is_refused(monkeypatch):
    server = object_server(monkeypatch)
    server.ignore_conditions = True
    with pytest.raises(ArtifactError, match="ignores If-None-Match"):
        acquire(server.new_bucket(), "machine1")


def test_a_claim_whose_answer_was_lost_counts(monkeypatch):
    server = object_server(monkeypatch)
    url = server.new_bucket()
    with server.fault(*BUSY, applies=lambda method, path, key_id: method == "PUT" and ".locks" in path) as fault:
        fault.after, fault.times = True, 1
        held = acquire(url, "machine1", refuse)
    assert last_claim(ObjectStore(url), DIGEST)[2] == held.claim
    held.release()


def test_a_builder_that_dies_before_its_record_is_written_has_published(tmp_path, url, monkeypatch):
    recipe = ToyRecipe(folder=str(make_folder(tmp_path / "in")))
    first = machine(url, tmp_path / "machine1", recipe)

    def die(record):
        raise KeyboardInterrupt

    monkeypatch.setattr(first.store, "_write_record", die)
    monkeypatch.setattr(Lease, "release", lambda held: None)
    with pytest.raises(KeyboardInterrupt):
        materialize(LETTERS, "a", first)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    outcome = materialize(LETTERS, "a", machine(url, tmp_path / "machine2", recipe))
    assert outcome.cached and outcome.artifact.record.rows == {"letters": 20}


def test_a_builder_that_was_taken_over_leaves_the_others_artifact(tmp_path, url, monkeypatch):
    """Both build the same files; the record is that of the builder that holds the lease."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    recipe = ToyRecipe(folder=str(make_folder(tmp_path / "in")))
    slow, quick = (machine(url, tmp_path / name, recipe) for name in ("machine1", "machine2"))
    identity = slow.resolver().resolve("letters", "a").identity
    put = slow.store.objects.put

    def hang(key, data):
        put(key, data)
        if key.endswith(ANNOUNCED):
            pause(slow.store._lease(identity))
            assert not materialize(LETTERS, "a", quick).cached

    monkeypatch.setattr(slow.store.objects, "put", hang)
    with pytest.raises(LeaseLost, match="has taken over"):
        materialize(LETTERS, "a", slow)
    assert materialize(LETTERS, "a", slow).cached
    assert slow.store.lookup(identity).record == quick.store.lookup(identity).record
    assert not is_live(slow.store.objects, *last_claim(slow.store.objects, identity.digest)[1:])


def test_a_claim_that_could_not_be_taken_whole_is_not_renewed(url, monkeypatch):
    def fail(held):
        raise StoreUnreachable("away")

    monkeypatch.setattr(Lease, "_drop_earlier", fail)
    with pytest.raises(StoreUnreachable):
        acquire(url, "machine1")
    assert not [thread for thread in threading.enumerate() if thread.name == "lease of letters/a"]


def test_renewals_survive_any_error_and_report_the_loss_of_the_lease(url, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.02)
    listing, errors = ObjectStore.list, [RuntimeError("of the client")]

    def failing_once(objects, folder):
        if errors and threading.current_thread().name == "lease of letters/a":
            raise errors.pop()
        return listing(objects, folder)

    monkeypatch.setattr(ObjectStore, "list", failing_once)
    held = acquire(url, "machine1")
    held.require_not_known_lost()
    acquire(url, "machine1").release()  # as a builder that takes over
    held._renewals.join(10)
    with pytest.raises(LeaseLost, match="machine1 has taken over"):
        held.require_not_known_lost()
    assert errors == []


def test_a_builder_stops_after_the_task_in_which_it_lost_its_lease(tmp_path, url, monkeypatch):
    ws = machine(url, tmp_path / "machine1", ToyRecipe(folder=str(make_folder(tmp_path / "in"))))
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    require = Lease.require_not_known_lost
    monkeypatch.setattr(Lease, "require_not_known_lost", lambda held: (held._lost.set(), require(held)))
    with pytest.raises(LeaseLost):
        materialize(LETTERS, "a", ws)
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_a_decision_to_publish_does_not_overwrite_a_newer_record(tmp_path, url, monkeypatch):
    """A builder dies after its record is visible; a takedown then changes the artifact; garbage is collected."""
    ws = machine(url, tmp_path / "machine1", ToyRecipe(folder=str(make_folder(tmp_path / "in"))))
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "release", lambda held: held._end_renewals())
        patch.setattr(ClaimedPlace, "clear_staging", lambda *arguments: None)
        artifact = materialize(LETTERS, "a", ws).artifact
        changed = change(artifact)
        patch.setattr(RemoteStore, "_claim", unclaimed)  # the last claim stays that of the dead builder
        ws.store.replace(artifact, changed)
    identity = ws.resolver().resolve("letters", "a").identity
    with ws.store.lock(identity):
        assert ws.store.lookup(identity).record == changed.record
    collect(ws, find_garbage(ws, staging_days=0))
    stored = ws.store.lookup(identity)
    assert stored.record == changed.record
    assert {item.key for item in ws.store.objects.list("letters")} == stored.remote.keys()


def test_a_deletion_that_was_taken_over_removes_nothing_more(tmp_path, url, monkeypatch):
    recipe = ToyRecipe(folder=str(make_folder(tmp_path / "in")))
    first, second = (machine(url, tmp_path / name, recipe) for name in ("machine1", "machine2"))
    artifact = materialize(LETTERS, "a", first).artifact
    listing = ObjectStore.list

    def hang(objects, folder):
        """The deletion hangs after it has removed the record, and the artifact is built again meanwhile."""
        items = listing(objects, folder)
        if folder.startswith("letters/"):
            monkeypatch.setattr(ObjectStore, "list", listing)
            monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
            assert not materialize(LETTERS, "a", second).cached
        return items

    monkeypatch.setattr(ObjectStore, "list", hang)
    with pytest.raises(LeaseLost):
        first.store.delete(artifact)
    (rebuilt,) = second.store.artifacts()
    assert rebuilt.remote.keys() == {item.key for item in second.store.objects.list("letters")}


def test_files_that_vanish_during_an_upload_are_uploaded_again(tmp_path, url, monkeypatch):
    ws = machine(url, tmp_path / "machine1", ToyRecipe(folder=str(make_folder(tmp_path / "in"))))
    upload = remote.upload_files

    def vanish(objects, place, *arguments):
        monkeypatch.setattr(remote, "upload_files", upload)
        upload(objects, place, *arguments)
        objects.delete([objects.list(place)[0].key])

    monkeypatch.setattr(remote, "upload_files", vanish)
    artifact = materialize(LETTERS, "a", ws).artifact
    assert artifact.record.rows == {"letters": 20}
    assert len(ws.store.objects.list("letters")) == 4


def change(artifact):
    """The artifact with another content of its first file."""
    file = artifact.folder / "letters/file0.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    files = {
        **artifact.record.files,
        "letters/file0.parquet": FileEntry(bytes=file.stat().st_size, sha256=file_digest(file)),
    }
    return type(artifact)(artifact.folder, artifact.record.model_copy(update={"files": files}))


@contextlib.contextmanager
def unclaimed(store, *arguments):
    """In place of a claim: nothing is written to the URL, and every deletion is allowed."""
    yield SimpleNamespace(require=lambda: None, decided=None)
