"""The store under stress: kills, concurrent builders, full and read-only disks, damaged files."""

import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_assets.artifacts import CorruptArtifact, StoreUnwritable, materialize
from llm_assets.artifacts.record import file_digest, write_atomic
from tests.support.toy import LETTERS, ToyRecipe, make_folder, workspace

ROOT = Path(__file__).resolve().parents[2]

BUILD = """
import sys
from pathlib import Path
from llm_assets.artifacts import materialize
from tests.support.toy import LETTERS, ToyRecipe, workspace
if __name__ == "__main__":
    ws = workspace(Path(sys.argv[1]), ToyRecipe(folder=sys.argv[2], slow=float(sys.argv[3])), int(sys.argv[4]))
    print("ready", flush=True)
    outcome = materialize(LETTERS, "a", ws)
    print(outcome.cached, outcome.resumed_tasks, flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in", files=6, lines=5)


def build(tmp_path, folder, slow=0.0, workers=1, store="store", **extra):
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / store), str(folder), str(slow), str(workers)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **extra},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def published_records(store: Path) -> list[Path]:
    return list(store.glob("letters/*/*/artifact.json"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_a_kill_at_any_moment_loses_nothing_and_the_next_run_resumes(tmp_path, folder, workers):
    rng = random.Random(workers)
    log = tmp_path / "log"
    for _ in range(5):
        process = build(tmp_path, folder, slow=0.02, workers=workers, TOY_LOG=str(log))
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.6 if workers == 1 else 2.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for record in published_records(tmp_path / "store"):  # whatever is visible is whole
            entry = json.loads(record.read_text())
            assert all(file_digest(record.parent / name) == file["sha256"] for name, file in entry["files"].items())
    time.sleep(0.5)  # workers notice that their parent has ended
    process = build(tmp_path, folder, slow=0.0, workers=workers, TOY_LOG=str(log))
    _out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    reference = materialize(LETTERS, "a", workspace(tmp_path / "clean", ToyRecipe(folder=str(folder)))).artifact
    resumed = materialize(LETTERS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder))))
    assert resumed.cached
    assert resumed.artifact.data_version == reference.data_version
    assert resumed.artifact.record.files == reference.record.files


def test_a_killed_step_resumes_at_the_file_it_was_at(tmp_path, folder):
    log = tmp_path / "log"
    process = build(tmp_path, folder, slow=0.05, TOY_LOG=str(log))
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = log.read_text().splitlines()
    process = build(tmp_path, folder, TOY_LOG=str(log))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert int(out.split()[-1]) >= 3  # tasks taken over
    assert len(log.read_text().splitlines()) == len(set(log.read_text().splitlines()))  # no task ran twice
    assert set(done) <= set(log.read_text().splitlines())


def test_of_concurrent_builders_only_one_builds(tmp_path, folder):
    log = tmp_path / "log"
    builders = [build(tmp_path, folder, slow=0.02, TOY_LOG=str(log)) for _ in range(3)]
    outputs = [builder.communicate(timeout=300) for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0, 0], outputs
    assert sorted(out.split()[1] for out, _ in outputs) == ["False", "True", "True"]
    assert len(log.read_text().splitlines()) == 6


def _hold_lock(store, folder, ready, leave):
    ws = workspace(store, ToyRecipe(folder=str(folder)))
    identity = ws.resolver().resolve("letters", "a").identity
    with ws.store.lock(identity):
        ready.set()
        leave.wait(30)


def test_a_second_builder_waits_and_reports_for_whom(tmp_path, folder):
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    holder = context.Process(target=_hold_lock, args=(tmp_path / "store", folder, ready, leave))
    holder.start()
    assert ready.wait(30)
    events = []

    def listen(event):
        events.append(event)
        if event.kind == "waiting":
            leave.set()

    try:
        outcome = materialize(LETTERS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder))), [listen])
    finally:
        leave.set()
        holder.join()
    assert not outcome.cached
    (message,) = [event.message for event in events if event.kind == "waiting"]
    assert re.fullmatch(r"for process \d+ on \S+, which is building it", message)


def test_a_full_disk_is_a_clear_error_and_leaves_the_store_unharmed(tmp_path, folder):
    """A limit on file size simulates a full disk: the write fails in the same place and in the same way."""
    script = tmp_path / "full.py"
    script.write_text(
        textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from llm_assets.artifacts import StoreUnwritable, materialize
        from tests.support.toy import LETTERS, ToyRecipe, workspace
        ws = workspace(Path(sys.argv[1]), ToyRecipe(folder=sys.argv[2]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
        try:
            materialize(LETTERS, "a", ws)
        except StoreUnwritable as error:
            print(error)
    """)
    )
    for limit in ("10", "600", "1500"):
        out = subprocess.run(
            [sys.executable, str(script), str(tmp_path / "store"), str(folder), limit],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "cannot write to the artifact store" in out.stdout, out
        assert "free space" in out.stdout
        assert published_records(tmp_path / "store") == []
    assert not materialize(LETTERS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))).cached


def test_a_read_only_store_is_a_clear_error(tmp_path, folder):
    store = tmp_path / "file-not-folder" / "store"
    recipe = ToyRecipe(folder=str(folder))
    materialize(LETTERS, "a", workspace(tmp_path / "ok", recipe))
    if os.geteuid() == 0:
        os.makedirs(tmp_path / "ro")
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(tmp_path / "ro")], capture_output=True
        ).returncode:
            pytest.skip("root may write anywhere, and this machine does not allow mounting a read-only file system")
        try:
            with pytest.raises(StoreUnwritable, match="Read-only"):
                materialize(LETTERS, "a", workspace(tmp_path / "ro" / "store", recipe))
        finally:
            subprocess.run(["umount", str(tmp_path / "ro")], check=True)
    else:
        store.parent.mkdir()
        store.parent.chmod(0o500)
        with pytest.raises(StoreUnwritable, match="Permission denied"):
            materialize(LETTERS, "a", workspace(store, recipe))


def test_a_build_that_fails_publishes_nothing(tmp_path, folder):
    (folder / "a" / "file3.txt").write_bytes(b"\xff\xfe not utf-8")
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    with pytest.raises(UnicodeDecodeError):
        materialize(LETTERS, "a", ws)
    assert published_records(tmp_path / "store") == []


@pytest.mark.parametrize("damage", ["truncate", "remove", "record"])
def test_damage_is_detected(tmp_path, folder, damage):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
    artifact = materialize(LETTERS, "a", ws).artifact
    path = artifact.file("letters/file0.parquet")
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "remove":
        path.unlink()
    else:
        (artifact.path / "artifact.json").write_text("{")
    with pytest.raises(CorruptArtifact, match="remove the folder"):
        materialize(LETTERS, "a", ws)


def test_the_record_is_readable_and_complete(tmp_path, folder):
    artifact = materialize(LETTERS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))).artifact
    record = json.loads((artifact.path / "artifact.json").read_text())
    assert record["fields"]["config"] == {"upper": False}
    assert record["rows"] == {"letters": 30}
    assert record["schemas"]["letters"] == {"name": "String", "letters": "Int64", "doc_id": "String"}
    assert (
        set(record["files"])
        == {f"letters/file{i}.parquet" for i in range(6)}
        == {str(p.relative_to(artifact.path)) for p in artifact.path.rglob("*.parquet")}
    )
    assert record["source"]["tests.support.toy"] and record["timings"]["seconds"] >= 0 and record["versions"]["python"]


def test_two_threads_write_one_file(tmp_path, monkeypatch):
    both_have_written, rename = threading.Barrier(2), os.replace

    def rename_together(source, target):
        both_have_written.wait(10)
        rename(source, target)

    monkeypatch.setattr(os, "replace", rename_together)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda data: write_atomic(tmp_path / "file", data), [b"a", b"b"]))
    assert (tmp_path / "file").read_bytes() in (b"a", b"b") and len(list(tmp_path.iterdir())) == 1
