"""An object store that is full, slow or away, credentials that expire, and builders that are killed or meet."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llm_assets.artifacts import StoreUnreachable, StoreUnwritable, lease, materialize, objects
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.objects import ObjectStore
from tests.support.object_server import BUSY, DENIED, EXPIRED, FULL, SKEWED, object_server
from tests.support.toy import LETTERS, ToyRecipe, machine, make_folder, workspace

ROOT = Path(__file__).resolve().parents[2]

BUILD = """
import sys
from pathlib import Path
from llm_assets.artifacts import materialize
from tests.support.toy import LETTERS, ToyRecipe, machine
outcome = materialize(LETTERS, "a", machine(sys.argv[1], Path(sys.argv[2]), ToyRecipe(folder=sys.argv[3], slow=0.02)))
print(outcome.cached, outcome.resumed_tasks, flush=True)
"""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(objects, "MOST_PAUSE_SECONDS", 0.2)
    return object_server(monkeypatch)


@pytest.fixture
def recipe(tmp_path):
    return ToyRecipe(folder=str(make_folder(tmp_path / "in")))


def is_upload(method, path, key_id=""):
    return method == "PUT" and "/files/" in path


def build(url, cache, recipe, **extra):
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, url, str(cache), recipe.folder],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **extra},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_full_store_is_a_clear_error_and_the_next_run_resumes(server, tmp_path, recipe):
    ws = machine(server.new_bucket(), tmp_path / "machine", recipe)
    with server.fault(*FULL, applies=is_upload), pytest.raises(StoreUnwritable) as error:
        materialize(LETTERS, "a", ws)
    assert "The object store is full. Nothing was published" in str(error.value)
    assert "507 Insufficient Storage, XMinioStorageFull" in str(error.value) and "free space" in str(error.value)
    assert list(ws.store.artifacts()) == []
    outcome = materialize(LETTERS, "a", ws)
    assert not outcome.cached and outcome.resumed_tasks == 4


def test_a_store_that_is_busy_for_a_while_is_asked_again(server, tmp_path, recipe, caplog):
    ws = machine(server.new_bucket(), tmp_path / "machine", recipe)
    identity = ws.resolver().resolve("letters", "a").identity
    with server.fault(*BUSY) as busy:
        end = threading.Timer(1.5, lambda: setattr(busy, "times", 0))
        end.start()
        assert not materialize(LETTERS, "a", ws).cached
    reasons = [record.getMessage() for record in caplog.records]
    assert any("503" in reason and "SlowDown: Please" in reason and "trying again" in reason for reason in reasons)
    assert ws.store.lookup(identity) is not None


class VirtualTime:
    """In place of the module `time`: it passes in pauses alone."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


@pytest.fixture
def virtual(monkeypatch):
    """A store, with the limits as they are, and the time, which passes in pauses alone."""
    server, time = object_server(monkeypatch), VirtualTime()
    monkeypatch.setattr(objects, "time", time)
    return server, ObjectStore(server.new_bucket()), time


@pytest.mark.parametrize(("answer", "seconds"), [(BUSY, 60), (EXPIRED, 120)])
def test_what_passes_within_minutes_is_waited_for(virtual, answer, seconds):
    server, store, time = virtual
    with server.fault(*answer, applies=lambda *_: time.seconds < seconds):
        store.put("a", b"x")
    assert seconds <= time.seconds < seconds + objects.MOST_PAUSE_SECONDS and store.get("a") == b"x"


def test_an_outage_of_four_minutes_is_an_error(virtual):
    server, store, time = virtual
    with server.fault(*BUSY, applies=lambda *_: time.seconds < 240), pytest.raises(StoreUnreachable, match="503"):
        store.put("a", b"y")
    assert objects.PATIENCE_SECONDS <= time.seconds < 240


def test_a_claim_outlives_an_outage_in_which_its_renewal_hangs():
    """The renewal before the outage may be RENEW_SECONDS old; the next one hangs until its request is given up."""
    slow = 2 * 5.0  # listing and writing at a store that takes 5 s for a request
    assert lease.RENEW_SECONDS + float(objects.REQUEST_SECONDS.rstrip("s")) + slow < lease.LEASE_SECONDS


def test_a_store_that_does_not_answer_is_one_clear_error(server, tmp_path, recipe, monkeypatch):
    ws = machine(server.new_bucket(), tmp_path / "machine", recipe)
    ws.store.objects.patience = 2.0
    with server.fault(*BUSY, applies=is_upload):
        with pytest.raises(StoreUnreachable, match=r"503.*SlowDown.*tries\). Nothing was published.*run again when"):
            materialize(LETTERS, "a", ws)
        assert list(ws.store.artifacts()) == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = machine("s3://bucket/store", tmp_path / "another", recipe)
    away.store.objects.patience = 0.1
    with pytest.raises(StoreUnreachable, match=r"cannot list s3://bucket/store/\.records"):
        materialize(LETTERS, "a", away)


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (SKEWED, "the clock of this machine differs from the store's"),
        (DENIED, "check the credentials and what they allow"),
        (("404 Not Found", "NoSuchBucket", "The specified bucket does not exist"), "create the bucket"),
    ],
)
def test_what_does_not_pass_is_told_at_once(server, tmp_path, recipe, answer, advice):
    ws = machine(server.new_bucket(), tmp_path / "machine", recipe)
    with server.fault(*answer), pytest.raises(StoreUnreachable, match=advice):
        materialize(LETTERS, "a", ws)
    assert len(server.requests) == 2  # the bucket, and one try


def test_a_slow_store_is_waited_for(server, tmp_path, recipe):
    url = server.new_bucket()
    server.delay = 0.1
    assert not materialize(LETTERS, "a", machine(url, tmp_path / "machine1", recipe)).cached
    assert materialize(LETTERS, "a", machine(url, tmp_path / "machine2", recipe)).cached


@pytest.mark.parametrize("renewed", [True, False])
def test_credentials_that_expire_in_the_middle(server, tmp_path, recipe, monkeypatch, renewed):
    """They are read again from where they came from; if they are not renewed there, one error says so."""
    pytest.importorskip("boto3")
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = old\naws_secret_access_key = secret\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    ws = machine(server.new_bucket(), tmp_path / "machine", recipe)
    uploads = []

    def expired(method, path, key_id):
        uploads.extend([path] if is_upload(method, path) else [])
        if renewed and len(uploads) == 3:
            file.write_text("[default]\naws_access_key_id = new\naws_secret_access_key = secret\n")
        return key_id == "old" and len(uploads) > 1

    with server.fault(*EXPIRED, applies=expired):
        if renewed:
            assert not materialize(LETTERS, "a", ws).cached
        else:
            ws.store.objects.patience = 0.5
            with pytest.raises(StoreUnreachable, match="the credentials have expired: renew them, then run again"):
                materialize(LETTERS, "a", ws)


@pytest.mark.slow
def test_a_builder_killed_while_it_uploads_is_resumed_without_waiting(server, tmp_path, recipe):
    url, cache = server.new_bucket(), tmp_path / "machine"
    server.delay = 0.1
    process = build(url, cache, recipe)
    while not any(is_upload(method, path) for method, path, _ in server.requests) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.delay = 0.0
    time.sleep(0.3)  # requests under way end
    ws = machine(url, cache, recipe)
    assert list(ws.store.artifacts()) == []
    stored = {item.key for item in ws.store.objects.list("letters")}
    server.requests.clear()
    outcome = materialize(LETTERS, "a", ws)
    uploads = [path for method, path, _ in server.requests if is_upload(method, path)]
    assert not outcome.cached and outcome.resumed_tasks == 4 and len(uploads) == 4 - len(stored) < 4
    local = materialize(LETTERS, "a", workspace(tmp_path / "local", recipe)).artifact
    assert outcome.artifact.record.files == local.record.files
    assert len(ObjectStore(url).list("letters")) == 4 and find_garbage(ws, staging_days=0).uploads == []


@pytest.mark.slow
def test_of_two_machines_one_builds_and_the_other_waits(server, tmp_path, recipe):
    url, log = server.new_bucket(), tmp_path / "log"
    builders = [build(url, tmp_path / name, recipe, TOY_LOG=str(log)) for name in ("machine1", "machine2")]
    outputs = [builder.communicate(timeout=120) for builder in builders]
    assert sorted(out.split()[:1] for out, _ in outputs) == [["False"], ["True"]], outputs
    assert len(log.read_text().splitlines()) == 4
