"""Tasks on machines without the builder's disk: what they fetch, store and refuse, with an engine in this process."""

import fcntl
import io
import os
import pickle
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets.artifacts import ArtifactError, CodeDiffers, Graph, RemoteStore, Task, Workspace, materialize
from llm_assets.artifacts.input_cache import FOLDER, UNUSED_SECONDS, InputCache, StoredFiles
from llm_assets.artifacts.objects import ObjectStore
from llm_assets.artifacts.record import FileEntry, file_digest
from llm_assets.artifacts.remote_tasks import RemoteTasks, _Writer, run_remote_task
from llm_assets.artifacts.step import paths_in
from llm_assets.compute import LocalEngine
from tests.support.toy import LETTERS, WORDS, Letters, ToyRecipe, WordsConfig, make_folder, workspace


class DistantEngine(LocalEngine):
    """Runs tasks in this process as if it were a machine without the builder's disk."""

    shares_disk = False

    def __init__(self):
        super().__init__(1)
        self.payloads = []

    @property
    def on_this_machine(self):
        return LocalEngine(1)

    def run(self, work, tasks, sizes=None):
        self.sizes = sizes
        sent = {name: pickle.loads(pickle.dumps(tasks[name])) for name in tasks}
        self.payloads += sent.values()
        yield from super().run(work, sent)


def copy_task(staging: Path, name: str, letters: Path, extra: dict[str, list[Path]]) -> None:
    with Task(staging, name) as task:
        rows = pl.read_parquet(letters)
        file, folder = extra["lists"]
        words = file.read_text() + "".join(path.read_text() for path in sorted(folder.iterdir()))
        task.table("letters", Letters).frame(rows.with_columns(name=pl.lit(words)))
        task.add_scratch(f"notes/{name}.txt").write_text(name)
        task.stats["pages"] = len(rows)


def build_copies(step, config: WordsConfig) -> None:
    (step.staging / "lists").mkdir(exist_ok=True)
    for name in ("first.txt", "second.txt"):
        (step.staging / "lists" / name).write_text(name)
    extra = {"lists": [step.staging / "lists" / "first.txt", step.staging / "lists"]}
    tasks = {name: (path, extra) for name, path in step.task_files("letters", "letters").items()}
    step.run_tasks(copy_task, tasks)
    with step.task("summary") as task:
        step.fetch("notes/")
        notes = sorted(path.read_text() for path in (step.staging / "notes").iterdir())
        count = sum(pl.read_parquet(path).height for path in step.table("letters"))
        task.table("letters", Letters).append({"name": " ".join(notes), "letters": count, "doc_id": "summary"})


COPIES = replace(
    WORDS,
    name="copies",
    description="The rows of letters, with words of files that the builder wrote.",
    build=build_copies,
    libraries=("polars",),
)
GRAPH = Graph([LETTERS, COPIES])


@pytest.fixture
def recipe(tmp_path):
    return ToyRecipe(folder=str(make_folder(tmp_path / "in")))


@pytest.fixture
def distant(tmp_path, recipe, monkeypatch):
    """A builder whose engine has no disk in common with it, and whose store is at a URL."""
    pytest.importorskip("obstore", reason="a store at a URL needs the extra 's3'")
    monkeypatch.setenv(FOLDER, str(tmp_path / "worker"))
    store = RemoteStore(f"local://{tmp_path}/objects", tmp_path / "builder")
    return Workspace(recipe, store, GRAPH, DistantEngine())


def build(space):
    return [materialize(stage, "a", space).artifact for stage in GRAPH]


def test_artifacts_are_those_of_an_engine_with_a_common_disk(distant, tmp_path, recipe):
    local = build(replace(workspace(tmp_path / "store", recipe), graph=GRAPH))
    artifacts = build(distant)
    assert [artifact.record.files for artifact in artifacts] == [artifact.record.files for artifact in local]
    assert [artifact.record.rows for artifact in artifacts] == [artifact.record.rows for artifact in local]
    # The builder has downloaded what it reads itself, and nothing that only workers read or wrote.
    assert sorted(path.name for path in artifacts[0].folder.rglob("*.parquet")) == []
    assert ObjectStore(distant.store.url).list(".staging") == []
    assert not [path for path in (tmp_path / "worker").iterdir() if path.name.startswith("task-")]
    extra = len("first.txt") + len("first.txtsecond.txt")  # files that are named in lists of the arguments
    letters = artifacts[0].record.files
    assert distant.engine.sizes == {Path(name).stem: entry.bytes + extra for name, entry in letters.items()}
    assert str(tmp_path / "builder") not in str([payload.call for (payload,) in distant.engine.payloads])


def test_a_folder_of_this_machine_is_refused_as_store(tmp_path, recipe):
    space = replace(workspace(tmp_path / "store", recipe), engine=DistantEngine())
    with pytest.raises(ArtifactError, match=r"a folder of this machine.*LLM_ASSETS_STORE to a URL: s3://"):
        materialize(LETTERS, "a", space)


def test_a_worker_with_other_code_is_refused(distant):
    build(distant)
    (task,) = distant.engine.payloads[-1]
    # The stage does not name pyarrow, which writes every table.
    other = {**task.versions, "pyarrow": "0.1", "llm_assets": "0123456789abcdef"}
    with pytest.raises(CodeDiffers, match=r"pyarrow \S+, not 0\.1; llm_assets \w{16}, not 0123456789abcdef\. Install"):
        run_remote_task(replace(task, versions=other))


def test_tasks_that_another_machine_has_removed_are_run_again(distant):
    build(distant)
    identity = distant.resolver().resolve("letters", "a").identity
    distant.store.delete(distant.store.lookup(identity))
    runs = len(distant.engine.payloads)
    with distant.store.lock(identity):
        staging = distant.store.remote_staging(identity)
        for (task,) in distant.engine.payloads[:2]:
            run_remote_task(replace(task, staging=staging))
        folder = distant.store.open_staging(identity)
        assert staging.save_markers(folder) == [task.name for (task,) in distant.engine.payloads[:2]]
    distant.store.objects.delete([item.key for item in distant.store.objects.list(".staging")])
    distant.store.objects.delete([item.key for item in distant.store.objects.list("letters")])
    outcome = materialize(LETTERS, "a", distant)
    assert outcome.resumed_tasks == 0 and len(distant.engine.payloads) == runs + 4


def test_tasks_of_workers_are_resumed_by_them_and_run_again_on_a_disk_of_this_machine(distant):
    letters = materialize(LETTERS, "a", distant).artifact
    identity = distant.resolver().resolve("letters", "a").identity
    for engine, resumed in ((distant.engine, 2), (LocalEngine(1), 0)):
        distant.store.delete(distant.store.lookup(identity))
        with distant.store.lock(identity):
            staging = distant.store.remote_staging(identity)
            for (task,) in distant.engine.payloads[:2]:
                run_remote_task(replace(task, staging=staging))
            staging.save_markers(distant.store.open_staging(identity))
        outcome = materialize(LETTERS, "a", replace(distant, engine=engine))
        assert outcome.resumed_tasks == resumed and outcome.artifact.record.files == letters.record.files


def test_half_a_file_of_a_build_that_was_killed_on_this_machine_is_fetched_again(distant, tmp_path, recipe):
    local = build(replace(workspace(tmp_path / "store", recipe), graph=GRAPH))[-1]
    materialize(LETTERS, "a", distant)
    staging = distant.store.open_staging(distant.resolver().resolve("copies", "a").identity)
    for name in ("notes/file0.txt", "letters/file0.parquet"):
        (staging / name).parent.mkdir(exist_ok=True)
        (staging / name).write_text("half")
    assert materialize(COPIES, "a", distant).artifact.record.files == local.record.files


@pytest.mark.parametrize("lost", ["copies", ".staging"])
def test_a_marker_whose_files_are_gone_does_not_count(distant, tmp_path, recipe, lost):
    """As after a deletion that was killed between files and markers."""
    local = build(replace(workspace(tmp_path / "store", recipe), graph=GRAPH))[-1]
    copies = build(distant)[-1]
    identity, objects = distant.resolver().resolve("copies", "a").identity, distant.store.objects
    distant.store.delete(copies)
    (tmp_path / "builder").rename(tmp_path / "lost")  # the next builder has no copies
    (tmp_path / "builder").mkdir()
    with distant.store.lock(identity):
        staging = distant.store.remote_staging(identity)
        for task in (payload for (payload,) in distant.engine.payloads if "copies" in payload.staging.place):
            run_remote_task(replace(task, staging=staging))
    objects.delete([item.key for item in objects.list(lost) if "/files/" in item.key and "file1." in item.key])
    outcome = materialize(COPIES, "a", distant)
    assert outcome.resumed_tasks == 3 and outcome.artifact.record.files == local.record.files


def test_a_path_that_does_not_exist_is_named(distant, tmp_path):
    inputs = distant.resolver().resolve("copies", "a").inputs
    tasks = RemoteTasks(None, tmp_path, inputs, ())
    with pytest.raises(ArtifactError, match=r"/absent\.txt: a task reads it, but it is neither an input nor on this"):
        list(tasks.run(distant.engine, copy_task, {"name": (tmp_path / "absent.txt",)}, {}))


def test_the_files_that_a_task_reads_are_found_wherever_its_arguments_have_their_paths(tmp_path):
    paths, travelling = [tmp_path / name for name in "abcde"], set()
    arguments = (
        "text",
        {paths[0]: (1, paths[1])},
        SimpleNamespace(files=[{paths[2]}], more=ToyRecipe(folder="x")),
        paths[3],
        partial(print, 1, file=paths[4]),
        signal.SIGTERM,
    )
    _Writer(io.BytesIO(), lambda path: travelling.add(path) or "stored").dump(arguments)
    assert paths_in(arguments) == travelling == set(paths)


def stored(objects, name, data):
    objects.put(f"files/{name}", data)
    path = Path(objects.url.removeprefix("local://")) / "files" / name
    entry = FileEntry(bytes=len(data), sha256=file_digest(path))
    return StoredFiles(name, ((name, f"files/{name}", entry),))


def test_the_cache_removes_what_was_used_least_recently_but_nothing_in_use(tmp_path):
    pytest.importorskip("obstore", reason="a store at a URL needs the extra 's3'")
    objects, cache = ObjectStore(f"local://{tmp_path}/objects"), InputCache(tmp_path / "cache", 2_500)
    files = [stored(objects, f"{number}.bin", bytes([number]) * 1_000) for number in range(4)]

    def copies():
        return sorted(path.name for path in (tmp_path / "cache").glob("*/*.bin"))

    with cache.copy(objects, files[0]) as first:
        for file in files[1:]:
            with cache.copy(objects, file) as path:
                assert path.read_bytes() == bytes([int(path.stem)]) * 1_000
        assert first.exists()
    assert copies() == ["0.bin", "3.bin"]
    with cache.copy(objects, files[0]), cache.copy(objects, files[2]):
        assert copies() == ["0.bin", "2.bin"]


def test_what_nothing_has_read_for_a_day_is_removed(tmp_path):
    pytest.importorskip("obstore", reason="a store at a URL needs the extra 's3'")
    objects, cache = ObjectStore(f"local://{tmp_path}/objects"), InputCache(tmp_path / "cache", 10_000)
    files = [stored(objects, f"{number}.bin", bytes([number])) for number in range(4)]
    for file in files[:3]:
        with cache.copy(objects, file):
            pass
    for file in files[:2]:
        os.utime(tmp_path / "cache" / ".locks" / file.digest, (0, time.time() - UNUSED_SECONDS - 1))
    with cache.copy(objects, files[1]), cache.copy(objects, files[3]):
        assert sorted(path.name for path in (tmp_path / "cache").glob("*/*.bin")) == ["1.bin", "2.bin", "3.bin"]


def test_a_worker_that_finds_a_copy_missing_need_not_wait_for_those_that_read_it(tmp_path, monkeypatch):
    """Another worker downloads the file, and reads it until the end, between this one's look and its download."""
    pytest.importorskip("obstore", reason="a store at a URL needs the extra 's3'")
    objects, other = ObjectStore(f"local://{tmp_path}/objects"), InputCache(tmp_path / "cache", 10_000)
    file, cache, kinds = stored(objects, "a.bin", b"a"), InputCache(tmp_path / "cache", 10_000), []
    with ExitStack() as reading:

        def locked(name, kind):
            kinds.append(kind)
            if len(kinds) == 2:
                assert kind & fcntl.LOCK_NB
                reading.enter_context(other.copy(objects, file))
            return InputCache._locked(cache, name, kind)

        monkeypatch.setattr(cache, "_locked", locked)
        with cache.copy(objects, file) as path:
            assert path.read_bytes() == b"a" and len(kinds) == 3


def test_the_folder_of_a_killed_task_is_removed_by_the_next(tmp_path):
    pytest.importorskip("obstore", reason="a store at a URL needs the extra 's3'")
    objects, cache = ObjectStore(f"local://{tmp_path}/objects"), InputCache(tmp_path / "cache", 10_000)
    (tmp_path / "cache" / "task-killed").mkdir(parents=True)
    (tmp_path / "cache" / ".locks").mkdir()
    (tmp_path / "cache" / ".locks" / "task-killed").touch()
    with cache.task_folder() as running, cache.copy(objects, stored(objects, "a.bin", b"a")):
        assert running.exists() and not (tmp_path / "cache" / "task-killed").exists()
    assert not running.exists()


def test_damaged_and_missing_inputs_are_errors(tmp_path):
    pytest.importorskip("obstore", reason="a store at a URL needs the extra 's3'")
    objects, cache = ObjectStore(f"local://{tmp_path}/objects"), InputCache(tmp_path / "cache", 10_000)
    file = stored(objects, "a.bin", b"abc")
    objects.put("files/a.bin", b"abd")
    with pytest.raises(ArtifactError, match=r"files/a\.bin: the bytes are not those of its record"):
        cache.copy(objects, file).__enter__()
    objects.delete(["files/a.bin"])
    with pytest.raises(ArtifactError, match=r"files/a\.bin: is missing, but a task reads it"):
        cache.copy(objects, file).__enter__()
    assert list((tmp_path / "cache").glob("*/*.bin")) == []
