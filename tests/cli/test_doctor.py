"""``llm-assets doctor``: each fault that it knows, made on purpose, is told with its command."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from llm_assets.artifacts import Check, CheckOutcome, materialize
from llm_assets.artifacts.checks import examine as examine_check
from llm_assets.artifacts.gc import find_garbage
from llm_assets.cli import cli
from llm_assets.cli.setup import open_instance
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.settings import PROJECT, load_settings
from resources.live_runs import announced
from tests.support import toy
from tests.support.commands import environment_for
from tests.support.small_recipe import recipe_file
from tests.support.warcs import page, story, write

doctor = sys.modules["llm_assets.cli.doctor"]  # the package's attribute of this name is the command


def examined():
    """Exit code and lines."""
    done = CliRunner().invoke(cli, ["doctor"])
    return done.exit_code, done.output


def findings(found):
    return [(one.level, one.text, one.mend) for one in found]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An installation that was set up, with a recipe of one small crawl."""
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{n}", story(n)) for n in range(3)])
    recipe_file(tmp_path / "recipe.py", f"{{'c': WarcFiles(path={str(tmp_path / 'warc')!r})}}")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    assert CliRunner().invoke(cli, ["setup"]).exit_code == 0
    monkeypatch.setenv("DAGSTER_HOME", str(load_settings().dagster_home))
    return tmp_path


def test_before_and_after_setup(tmp_path, monkeypatch):
    code, told = examined()
    assert code == 1 and "bad   no Dagster instance in " in told and "→ llm-assets setup" in told
    assert not load_settings().dagster_home.exists()  # it looks, and makes nothing
    CliRunner().invoke(cli, ["setup"])
    monkeypatch.setenv("DAGSTER_HOME", str(load_settings().dagster_home))
    code, told = examined()
    assert code == 0 and "bad" not in told
    assert "warn  crawl sample is not built\n      → llm-assets run --crawl sample --select '*clean_corpus'" in told


def test_an_env_file_of_another_instance(project):
    (project / ".env").write_text("DAGSTER_HOME=/elsewhere\n")
    code, told = examined()
    assert code == 0 and "says /elsewhere: Dagster's own commands use another" in told
    (project / ".env").unlink()
    assert "does not name it" in examined()[1]


def test_a_recipe_with_an_error(project):
    (project / "recipe.py").write_text(
        "from llm_assets.recipes import laptop\ndef mine():\n    return laptop().replace(x=1)\n"
    )
    code, told = examined()
    assert code == 1 and "bad   recipe " in told and "x: extra input is not permitted" in told


def test_a_store_that_cannot_be_used(project, monkeypatch):
    (project / "file").write_text("")
    monkeypatch.setenv("LLM_ASSETS_STORE", str(project / "file" / "store"))
    code, told = examined()
    assert code == 1 and "cannot be read and written" in told and "LLM_ASSETS_STORE" in told
    monkeypatch.delenv("LLM_ASSETS_STORE")
    folder = load_settings().data / "artifacts" / "raw_warc" / "c" / "0123"
    folder.mkdir(parents=True)
    (folder / "artifact.json").write_text("{")
    code, told = examined()
    assert code == 1 and "not a readable artifact record" in told


@pytest.mark.parametrize(("free", "level"), [(5e8, "bad"), (5e9, "warn"), (5e10, "ok")])
def test_disk_space(tmp_path, monkeypatch, free, level):
    usage = type("Usage", (), {"free": int(free)})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    ws = toy.workspace(tmp_path / "store", toy.ToyRecipe(folder=str(tmp_path)))
    assert [one.level for one in doctor.store_folder(ws)] == ["ok", level]


HOLDER = """
import os, sys, time
from llm_assets.artifacts import Identity, Store
with Store(sys.argv[1]).lock(Identity("asset", None, "1"), run_id=sys.argv[3] if len(sys.argv) > 3 else None):
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0) if len(sys.argv) > 2 else time.sleep(600)
"""


@pytest.mark.parametrize(("words", "level"), [((), "ok"), (("dies",), "bad"), (("dies", "0123456789"), "bad")])
def test_builds_and_locks_that_a_dead_process_left(tmp_path, words, level):
    (tmp_path / "holder.py").write_text(HOLDER)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(
        [sys.executable, "holder.py", "store", *words], cwd=tmp_path, env=environment, start_new_session=True
    )
    try:
        while not (found := findings(doctor.build_locks(tmp_path / "store"))) or (found[0][0] == "ok" and words):
            assert process.poll() in (None, 0)
        ((told, text, mend),) = found
        assert told == level and f"process {process.pid} on {os.uname().nodename}" in text
        assert (f"fuser -k {tmp_path}/store/.locks/" in mend) == (level == "bad")
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    while findings(doctor.build_locks(tmp_path / "store")):
        pass


def test_dead_runs_and_their_slots(project):
    @dg.job
    def nothing(): ...

    processes = load_settings().data / "processes"
    with open_instance() as instance:
        status = dg.DagsterRunStatus.STARTED
        living = instance.create_run_for_job(nothing, status=status).run_id
        dead = instance.create_run_for_job(nothing, status=status).run_id
        with announced(living):
            assert [one.level for one in doctor.dead_runs(instance)] == ["ok"]
        (processes / dead).touch()  # as its process left it
        ended = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.FAILURE).run_id
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 1)
        storage.claim_concurrency_slot("gpu", dead, "step")
        storage.claim_concurrency_slot("gpu", ended, "step")  # it is only assigned, and waits
        found = findings(doctor.dead_runs(instance))
    assert {text[4:12] for _, text, _ in found} == {dead[:8], ended[:8]}
    assert all(
        level == "bad" and "holds a slot of gpu" in text and mend.startswith("llm-assets run")
        for level, text, mend in found
    )


def test_partitions_and_crawls_that_part_ways(project):
    with open_instance() as instance:
        workspace = open_workspace()
        assert [one.level for one in doctor.partitions(instance, workspace)] == ["ok"]
        instance.add_dynamic_partitions("crawl", ["nobody"])
        instance.delete_dynamic_partition("crawl", "c")
        first, second = findings(doctor.partitions(instance, workspace))
    assert first[0] == "warn" and "nobody" in first[1] and first[2] == "llm-assets crawls remove nobody"
    assert second == ("warn", "crawls that are no partition in Dagster yet: c", "llm-assets setup")


def test_crawls_unbuilt_fetched_failed_and_out_of_reach(project, monkeypatch):
    def told():
        return findings(doctor.crawls(open_workspace()))

    build = "llm-assets run --crawl c --select '*clean_corpus'"
    assert told() == [("warn", "crawl c is not built", build)]
    workspace = open_workspace()
    identity = workspace.resolver().resolve("raw_warc", "c").identity
    workspace.store.open_staging(identity)
    assert told() == [("warn", "crawl c was begun and is not finished", build)]
    materialize(GRAPH["raw_warc"], "c", workspace)
    assert told() == [("warn", "crawl c is fetched and not built up to its corpus", build)]
    never = Check("never", "Never true.", lambda *_: CheckOutcome(False, "no page came"), blocking=True)
    monkeypatch.setattr(doctor, "stage_checks", lambda stage: (never,))
    examine_check(never, workspace.resolver().resolve("raw_warc", "c"), workspace.recipe, workspace.store)
    assert told() == [("bad", "crawl c failed never: no page came", "llm-assets crawls retry c")]
    (project / "warc" / "a.warc.gz").rename(project / "elsewhere")
    ((level, text, _),) = told()
    assert level == "bad" and text.startswith("crawl c: ") and str(project / "warc") in text


def test_garbage_and_drift(tmp_path):
    folder = str(toy.make_folder(tmp_path / "in"))
    ws = toy.workspace(tmp_path / "store", toy.ToyRecipe(folder=folder))
    first = materialize(toy.LETTERS, "a", ws).artifact
    assert [one.level for one in (*doctor.garbage(ws), *doctor.drift(ws))] == ["ok", "ok"]
    record = json.loads((first.path / "artifact.json").read_text())
    record["source"] = {name: "0" * len(digest) for name, digest in record["source"].items()}
    (first.path / "artifact.json").write_text(json.dumps(record))
    ((level, text, _),) = findings(doctor.drift(ws))
    assert level == "warn" and "tests.support.toy (letters/a)" in text
    (Path(folder) / "a" / "file0.txt").write_text("other")
    materialize(toy.LETTERS, "a", ws)
    assert find_garbage(ws).artifacts  # nothing resolves to the first any more
    ((level, text, mend),) = findings(doctor.garbage(ws))
    assert level == "warn" and "in 1 artifacts" in text and mend.startswith("llm-assets artifacts gc")


def test_python_and_packages(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=99"\n')
    assert [one.level for one in doctor.python_version(tmp_path)] == ["bad"]
    assert [one.level for one in doctor.python_version(PROJECT)] == ["ok"]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("click==0.1\nnot-installed-here==1.0\npytest==" + pytest.__version__ + "\n")
    ((level, text, mend),) = findings(doctor.package_versions(constraints))
    assert level == "warn" and text.startswith("1 packages") and "(pinned 0.1)" in text and "-c" in mend


def test_compiler_and_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    assert [one.level for one in (*doctor.compiler(), *doctor.gpu())] == ["warn", "ok"]
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H100, 81559 MiB\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    ((level, text, mend),) = findings(doctor.gpu())
    assert level == "bad" and "built for CPUs" in text and "torch==2.13.0" in mend
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.13.0+cu130")
    assert [(one.level, "H100" in one.text) for one in doctor.gpu()] == [("ok", True)]
    program.write_text("#!/bin/sh\necho no driver >&2\nexit 9\n")
    assert findings(doctor.gpu()) == [("bad", "nvidia-smi finds no GPU: no driver", "nvidia-smi")]


def test_it_is_quick_and_loads_nothing_heavy(project):
    program = (
        "import sys; from click.testing import CliRunner; from llm_assets.cli import cli;"
        "done = CliRunner().invoke(cli, ['doctor']);"
        "print(done.exit_code, [name for name in ('torch', 'mlflow') if name in sys.modules])"
    )
    environment = {**environment_for(load_settings().data), "PYTHONPATH": str(PROJECT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], cwd=project, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.strip() == "0 []", done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 8  # 3 s of CPU where nobody else works
