"""The engine on a Ray cluster of three nodes on this machine, with a store at an S3 server and no common folder."""

import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from llm_assets.artifacts import CodeDiffers, RemoteStore, StoreUnwritable, Workspace, materialize
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.objects import ObjectStore
from llm_assets.artifacts.record import write_atomic
from llm_assets.compute import RayEngine, ray_engine
from llm_assets.compute.ray_engine import ClusterError
from llm_assets.recipes import Recipe, WarcFiles
from tests.support import toy
from tests.support.corpus import GRAPH as CORPUS
from tests.support.corpus import corpus_workspace
from tests.support.object_server import BUSY, EXPIRED, FULL, object_server
from tests.support.ray_cluster import NODE_MEMORY, ROOT, RayCluster, python_path
from tests.support.warcs import page, story, write

ray = pytest.importorskip("ray", reason="the Ray engine needs the extra 'ray'")
pytest.importorskip("boto3", reason="workers read credentials from a file with the extra 's3'")
pytestmark = pytest.mark.filterwarnings("ignore")

CREDENTIALS = "[default]\naws_access_key_id = {}\naws_secret_access_key = secret\n"
DRIVER = """
import sys
from pathlib import Path
from llm_assets.artifacts import CodeDiffers, RemoteStore, Workspace, materialize
from llm_assets.compute import RayEngine
from tests.support.toy import GRAPH, LETTERS, ToyRecipe
url, cache, folder, address = sys.argv[1:]
store = RemoteStore(url, Path(cache))
materialize(LETTERS, "a", Workspace(ToyRecipe(folder=folder, slow=0.1), store, GRAPH, RayEngine(address)))
"""
CORPUS_DRIVER = """
import sys
from pathlib import Path
from llm_assets.artifacts import CodeDiffers, RemoteStore, Workspace, materialize
from llm_assets.compute import RayEngine
from llm_assets.recipes import Recipe, WarcFiles
from tests.support.corpus import GRAPH
url, cache, folder, address = sys.argv[1:]
recipe = Recipe(name="t", crawls={"c": WarcFiles(path=folder)})
workspace = Workspace(recipe, RemoteStore(url, Path(cache)), GRAPH, RayEngine(address))
for stage in GRAPH:
    materialize(stage, "c" if stage.per_crawl else None, workspace)
"""


def write_credentials(folder, name):
    """Atomically: a worker that read a part of the file would have no credentials."""
    write_atomic(folder / "credentials", CREDENTIALS.format(name).encode())


@pytest.fixture(scope="module")
def cluster():
    """Three nodes. Their workers read credentials from a file, and note each task of the toy graph in `log`."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    write_credentials(folder, "old")
    with pytest.MonkeyPatch.context() as patch:
        server = object_server(patch)
    variables = {
        "PYTHONPATH": python_path(),
        "TOY_LOG": str(folder / "log"),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "AWS_REGION": "us-east-1",
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
    }
    started = RayCluster(folder, variables, nodes=3)
    yield started
    started.shut_down()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(monkeypatch):
    return object_server(monkeypatch)


@pytest.fixture
def recipe(tmp_path):
    return toy.ToyRecipe(folder=str(toy.make_folder(tmp_path / "in", files=8)))


@pytest.fixture
def driver(cluster, server, tmp_path, recipe):
    """The workspace of a builder whose tasks run on the cluster."""
    store = RemoteStore(server.new_bucket(), tmp_path / "driver")
    return Workspace(recipe, store, toy.GRAPH, RayEngine(cluster.address))


def killed_driver(code, driver, folder, address, count):
    """Run a driver in a process, and kill it when `count` tasks are stored; returns their names."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, driver.store.url, driver.store.root, folder, address],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": python_path()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    finished = []
    while len(finished) < count and process.poll() is None:
        finished = [item.key for item in driver.store.objects.list(".staging") if "/tasks/" in item.key]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return [Path(key).stem for key in finished]


def local_files(tmp_path, recipe):
    return materialize(toy.LETTERS, "a", toy.workspace(tmp_path / "local", recipe)).artifact.record.files


def test_the_corpus_is_that_of_one_machine_though_its_driver_and_a_node_are_killed(driver, cluster, server, tmp_path):
    for number in range(3):
        pages = [page(f"http://host{number}.example/{i}", story(20 * number + i)) for i in range(6)]
        write(tmp_path / "warc" / f"{number}.warc.gz", [*pages, page("http://same.example/", story(1))])
    recipe = Recipe(name="t", crawls={"c": WarcFiles(path=str(tmp_path / "warc"))})
    names = [stage.name for stage in CORPUS]
    stages = [CORPUS[name] for name in names[: names.index("clean_corpus") + 1]]
    local, distant = corpus_workspace(recipe, tmp_path / "local"), replace(driver, recipe=recipe, graph=CORPUS)
    resumed, lost, one_at_a_time = [], [], threading.Lock()

    def is_working(name):
        return cluster.has_task(name) and any(cluster.cache(name).glob("task-*"))

    def is_held(method, path, key_id):
        """Another text than the first is stored after both deaths. Until then, workers try again."""
        with one_at_a_time:
            busy = [name for name in cluster.names[1:] if resumed and not lost and is_working(name)]
            if busy:
                lost.append(busy[0])
                cluster.kill_node(busy[0])
        is_text = method == "PUT" and "/extracted_text/" in path and "/tasks/" in path
        return is_text and not lost and "/0.warc.gz.json" not in path

    with server.fault(*BUSY, applies=is_held):
        assert killed_driver(CORPUS_DRIVER, driver, tmp_path / "warc", cluster.address, 1) == ["0.warc.gz"]
        while any(map(cluster.has_task, cluster.names)):  # Ray ends the tasks of a driver that is gone
            time.sleep(0.02)
        resumed.append("driver")
        for stage in stages:
            crawl = "c" if stage.per_crawl else None
            expected, outcome = (materialize(stage, crawl, space) for space in (local, distant))
            expected, artifact = expected.artifact, outcome.artifact
            assert (outcome.resumed_tasks > 0) == (stage.name == "extracted_text")
            assert artifact.record.identity == expected.record.identity
            assert artifact.record.files == expected.record.files
            assert artifact.record.stats == expected.record.stats
    assert lost and list(cluster.cache(lost[0]).glob("task-*"))
    assert len(artifact.record.rows) == 2 and artifact.record.rows["text"] > 15
    # The builder has not copied what workers read and wrote; each node has fetched what its tasks read.
    assert not list((tmp_path / "driver").glob("extracted_text/*/*/text/*"))
    assert all(list(cluster.cache(name).glob("*/*")) for name in cluster.names)
    assert ObjectStore(driver.store.url).list(".staging") == []


def test_a_task_ends_the_step_with_its_own_error(driver, recipe):
    (Path(recipe.folder) / "a" / "file3.txt").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError, match="can't decode byte 0xff in position 0") as error:
        materialize(toy.LETTERS, "a", driver)
    assert "in letters_task\n    text = path.read_text()" in str(error.value.__cause__)
    assert list(driver.store.artifacts()) == []


def test_workers_outlast_a_busy_store_and_credentials_that_expire(driver, cluster, server, tmp_path, recipe):
    write_credentials(cluster.folder, "old")
    refused = []

    def expired(method, path, key_id):
        if key_id == "old":
            refused.append(path)
        if len(refused) == 3:
            write_credentials(cluster.folder, "new")
        return key_id == "old"

    with server.fault(*BUSY, applies=lambda method, path, key_id: key_id == "new") as busy:
        busy.times = 12
        with server.fault(*EXPIRED, applies=expired):
            artifact = materialize(toy.LETTERS, "a", driver).artifact
    assert busy.times == 0 and len(refused) >= 3
    assert artifact.record.files == local_files(tmp_path, recipe)


def test_a_full_store_is_a_clear_error_and_the_next_run_resumes(driver, server):
    uploads = []

    def is_full(method, path, key_id):
        is_table = method == "PUT" and path.endswith(".parquet")
        uploads.extend([path] if is_table else [])
        return is_table and len(uploads) > 2

    with server.fault(*FULL, applies=is_full), pytest.raises(StoreUnwritable, match="The object store is full"):
        materialize(toy.LETTERS, "a", driver)
    assert list(driver.store.artifacts()) == []
    outcome = materialize(toy.LETTERS, "a", driver)
    assert not outcome.cached and outcome.resumed_tasks >= 1
    assert find_garbage(driver, staging_days=0).uploads == []


def test_a_driver_that_is_killed_is_resumed(driver, cluster, tmp_path, recipe):
    log = Path(cluster.environment["TOY_LOG"])
    log.write_text("")
    finished = killed_driver(DRIVER, driver, recipe.folder, cluster.address, 2)
    assert list(driver.store.artifacts()) == []
    outcome = materialize(toy.LETTERS, "a", driver)
    assert not outcome.cached and 2 <= outcome.resumed_tasks < 8
    runs = Counter(log.read_text().split("\n"))
    assert all(runs[f"letters {name}"] == 1 for name in finished)
    assert outcome.artifact.record.files == local_files(tmp_path, recipe)


def test_tasks_that_only_a_lost_node_had_the_memory_for_ask_for_less(cluster, monkeypatch):
    monkeypatch.setattr(ray_engine, "LOOK_SECONDS", 0.2)
    node = cluster.add_node(2 * NODE_MEMORY)
    names = RayEngine(cluster.address, memory=2 * NODE_MEMORY).run(time.sleep, {f"task{i}": (0.2,) for i in range(6)})
    finished = [next(names)]
    cluster.kill_node(node)
    assert sorted([*finished, *names]) == [f"task{i}" for i in range(6)]


def test_a_cluster_that_cannot_be_used_is_one_clear_error(cluster, monkeypatch):
    def problem(address):
        ray.shutdown()
        with pytest.raises(ClusterError) as error:
            next(RayEngine(address).run(print, {"task": ()}))
        return str(error.value)

    monkeypatch.setattr(ray_engine, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert problem(f"127.0.0.1:{port}") == (
            f"no Ray cluster at 127.0.0.1:{port}: no answer in 0 s; start its head (ray start --head), or correct "
            "LLM_ASSETS_RAY_ADDRESS"
        )
    assert "Connection refused" in problem(f"127.0.0.1:{port}")
    assert "it must be host:port of its head, or auto" in problem("ray://127.0.0.1:10001")
    ours, python = ray.__version__, platform.python_version()
    monkeypatch.setattr(ray, "__version__", "2.1.0")
    assert problem(cluster.address) == (
        f"the Ray cluster at {cluster.address} has Ray {ours} and Python {python}, but this process has Ray 2.1.0 and "
        f"Python {python}; install the same on every machine"
    )


def test_a_node_with_another_version_of_ray_does_not_join_and_ray_names_both(cluster):
    code = "import ray; ray.__version__ = '2.1.0'; from ray.scripts.scripts import main; main()"
    start = subprocess.run(
        [sys.executable, "-c", code, "start", f"--address={cluster.address}"], capture_output=True, text=True
    )
    message = (
        rf"(?s)Version mismatch.*cluster was started with:\s+Ray: {ray.__version__}.*process .*with:\s+Ray: 2\.1\.0"
    )
    assert start.returncode and re.search(message, start.stdout + start.stderr), start


def test_a_node_with_another_library_is_an_error_that_names_it_and_both_versions(driver, cluster, tmp_path):
    """The metadata of another pyarrow, which comes first on the path of the node's workers."""
    (tmp_path / "pyarrow-0.1.dist-info").mkdir()
    (tmp_path / "pyarrow-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pyarrow\nVersion: 0.1\n")
    node = cluster.add_node(python_path=f"{tmp_path}{os.pathsep}{python_path()}")
    try:
        with pytest.raises(CodeDiffers, match=rf"on {socket.gethostname()} has .*: pyarrow 0\.1, not \d.*Install"):
            materialize(toy.LETTERS, "a", driver)
    finally:
        cluster.kill_node(node)


def test_the_head_may_be_named_otherwise_than_ray_names_it(cluster):
    ray.shutdown()
    engine = RayEngine(f"localhost:{cluster.address.rpartition(':')[2]}")
    for _ in range(2):  # which connects, and then uses the connection
        assert list(engine.run(print, {"task": ()})) == ["task"]


def test_a_task_that_no_node_fits_is_an_error_in_the_end(cluster, monkeypatch):
    monkeypatch.setattr(ray_engine, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(ray_engine, "LOOK_SECONDS", 0.1)
    engine = RayEngine(cluster.address, cpus=64)
    with pytest.raises(ClusterError, match=r"no node of the Ray cluster has 64 CPUs, of \d nodes that are alive"):
        list(engine.run(print, {"task": ()}))
