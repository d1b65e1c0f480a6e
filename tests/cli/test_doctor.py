"""``llm-assets doctor``: every fault that it knows, made on purpose, is reported with the command that fixes it."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from llm_assets.artifacts import Check, CheckOutcome, materialize
from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.gc import find_garbage
from llm_assets.cli import cli
from llm_assets.cli.setup import open_instance
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.settings import PROJECT, load_settings
from resources.live_runs import announce_run
from tests.support import toy
from tests.support.commands import environment_for
from tests.support.small_recipe import recipe_file
from tests.support.warcs import page, story, write

doctor = sys.modules["llm_assets.cli.doctor"]  # the package's attribute of this name is the command


def run_doctor():
    """Exit code and output."""
    result = CliRunner().invoke(cli, ["doctor"])
    return result.exit_code, result.output


def as_tuples(findings):
    return [(finding.level, finding.text, finding.fix) for finding in findings]


def levels(findings):
    return [finding.level for finding in findings]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An installation after `setup`, with a recipe of one small crawl."""
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{n}", story(n)) for n in range(3)])
    recipe_file(tmp_path / "recipe.py", f"{{'c': WarcFiles(path={str(tmp_path / 'warc')!r})}}")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    assert CliRunner().invoke(cli, ["setup"]).exit_code == 0
    monkeypatch.setenv("DAGSTER_HOME", str(load_settings().dagster_home))
    return tmp_path


def test_the_missing_instance_is_reported_until_setup_is_run(tmp_path, monkeypatch):
    code, output = run_doctor()
    assert code == 1 and "bad   no Dagster instance in " in output and "→ llm-assets setup" in output
    assert not load_settings().dagster_home.exists()  # doctor creates nothing
    CliRunner().invoke(cli, ["setup"])
    monkeypatch.setenv("DAGSTER_HOME", str(load_settings().dagster_home))
    code, output = run_doctor()
    assert code == 0 and "bad" not in output
    assert "warn  crawl sample is not built\n      → llm-assets run --crawl sample --select '*clean_corpus'" in output


def test_an_env_file_that_names_another_instance_is_reported(project):
    (project / ".env").write_text("DAGSTER_HOME=/elsewhere\n")
    code, output = run_doctor()
    assert code == 0 and "says /elsewhere: Dagster's own commands use another" in output
    (project / ".env").unlink()
    assert "does not name it" in run_doctor()[1]


def test_an_error_in_the_recipe_is_reported(project):
    (project / "recipe.py").write_text(
        "from llm_assets.recipes import laptop\ndef mine():\n    return laptop().replace(x=1)\n"
    )
    code, output = run_doctor()
    assert code == 1 and "bad   recipe " in output and "x: extra input is not permitted" in output


def test_a_store_that_cannot_be_used_is_reported(project, monkeypatch):
    (project / "file").write_text("")
    monkeypatch.setenv("LLM_ASSETS_STORE", str(project / "file" / "store"))
    code, output = run_doctor()
    assert code == 1 and "cannot be read and written" in output and "LLM_ASSETS_STORE" in output
    monkeypatch.delenv("LLM_ASSETS_STORE")
    folder = load_settings().data / "artifacts" / "raw_warc" / "c" / "0123"
    folder.mkdir(parents=True)
    (folder / "artifact.json").write_text("{")
    code, output = run_doctor()
    assert code == 1 and "not a readable artifact record" in output


@pytest.mark.parametrize(("free", "level"), [(5e8, "bad"), (5e9, "warn"), (5e10, "ok")])
def test_little_space_on_the_disk_is_reported(tmp_path, monkeypatch, free, level):
    usage = type("Usage", (), {"free": int(free)})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    ws = toy.workspace(tmp_path / "store", toy.ToyRecipe(folder=str(tmp_path)))
    assert levels(doctor.store_folder(ws)) == ["ok", level]


HOLDER = """
import os, sys, time
from llm_assets.artifacts import Identity, Store
with Store(sys.argv[1]).lock(Identity("asset", None, "1"), run_id=sys.argv[3] if len(sys.argv) > 3 else None):
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0) if len(sys.argv) > 2 else time.sleep(600)
"""


def locks(folder):
    return as_tuples(doctor.build_locks(folder / "store"))


@pytest.mark.parametrize(("words", "level"), [((), "ok"), (("dies",), "bad"), (("dies", "0123456789"), "bad")])
def test_builds_and_locks_of_dead_processes_are_reported(tmp_path, words, level):
    (tmp_path / "holder.py").write_text(HOLDER)
    environment, deadline = {**os.environ, "PYTHONPATH": str(PROJECT)}, time.monotonic() + 60
    process = subprocess.Popen(
        [sys.executable, "holder.py", "store", *words], cwd=tmp_path, env=environment, start_new_session=True
    )
    try:
        holder = f"process {process.pid} on {os.uname().nodename}"
        # A lock is taken before its holder is written into it, and a process that dies has it for a moment.
        while not any((finding[0], holder in finding[1]) == (level, True) for finding in locks(tmp_path)):
            assert process.poll() in (None, 0) and time.monotonic() < deadline
        ((_, _, fix),) = locks(tmp_path)
        assert (f"fuser -k {tmp_path}/store/.locks/" in fix) == (level == "bad")
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    while locks(tmp_path):
        assert time.monotonic() < deadline


def test_dead_runs_and_their_pool_slots_are_reported(project):
    @dg.job
    def empty_job(): ...

    processes = load_settings().data / "processes"
    with open_instance() as instance:
        status = dg.DagsterRunStatus.STARTED
        living = instance.create_run_for_job(empty_job, status=status).run_id
        dead = instance.create_run_for_job(empty_job, status=status).run_id
        with announce_run(living):
            assert levels(doctor.dead_runs(instance)) == ["ok"]
        (processes / dead).touch()  # as a killed process leaves it
        ended = instance.create_run_for_job(empty_job, status=dg.DagsterRunStatus.FAILURE).run_id
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 1)
        storage.claim_concurrency_slot("gpu", dead, "step")
        storage.claim_concurrency_slot("gpu", ended, "step")  # pending: the slot is assigned, not claimed
        findings = as_tuples(doctor.dead_runs(instance))
    assert {text[4:12] for _, text, _ in findings} == {dead[:8], ended[:8]}
    assert all(
        level == "bad" and "holds a slot of gpu" in text and fix.startswith("llm-assets run")
        for level, text, fix in findings
    )


def test_differences_between_partitions_and_crawls_are_reported(project):
    with open_instance() as instance:
        workspace = open_workspace()
        assert levels(doctor.partitions(instance, workspace)) == ["ok"]
        instance.add_dynamic_partitions("crawl", ["nobody"])
        instance.delete_dynamic_partition("crawl", "c")
        first, second = as_tuples(doctor.partitions(instance, workspace))
    assert first[0] == "warn" and "nobody" in first[1] and first[2] == "llm-assets crawls remove nobody"
    assert second == ("warn", "crawls without a partition in Dagster: c", "llm-assets setup")


def test_the_state_of_every_crawl_that_is_not_built_is_reported(project, monkeypatch):
    def crawl_findings():
        return as_tuples(doctor.crawls(open_workspace()))

    build = "llm-assets run --crawl c --select '*clean_corpus'"
    assert crawl_findings() == [("warn", "crawl c is not built", build)]
    workspace = open_workspace()
    identity = workspace.resolver().resolve("raw_warc", "c").identity
    workspace.store.open_staging(identity)
    assert crawl_findings() == [("warn", "crawl c was started but is not finished", build)]
    materialize(GRAPH["raw_warc"], "c", workspace)
    assert crawl_findings() == [("warn", "crawl c is fetched but not built up to its corpus", build)]
    never = Check("never", "Never true.", lambda *_: CheckOutcome(False, "no page came"), blocking=True)
    monkeypatch.setattr(doctor, "stage_checks", lambda stage: (never,))
    examine(never, workspace.resolver().resolve("raw_warc", "c"), workspace.recipe, workspace.store)
    assert crawl_findings() == [("bad", "crawl c failed never: no page came", "llm-assets crawls retry c")]
    (project / "warc" / "a.warc.gz").rename(project / "elsewhere")
    ((level, text, _),) = crawl_findings()
    assert level == "bad" and text.startswith("crawl c: ") and str(project / "warc") in text


def test_garbage_and_changed_code_are_reported(tmp_path):
    folder = str(toy.make_folder(tmp_path / "in"))
    ws = toy.workspace(tmp_path / "store", toy.ToyRecipe(folder=folder))
    first = materialize(toy.LETTERS, "a", ws).artifact
    assert levels((*doctor.garbage(ws), *doctor.drift(ws))) == ["ok", "ok"]
    record = json.loads((first.path / "artifact.json").read_text())
    record["source"] = {name: "0" * len(digest) for name, digest in record["source"].items()}
    (first.path / "artifact.json").write_text(json.dumps(record))
    ((level, text, _),) = as_tuples(doctor.drift(ws))
    assert level == "warn" and "tests.support.toy (letters/a)" in text
    (Path(folder) / "a" / "file0.txt").write_text("other")
    materialize(toy.LETTERS, "a", ws)
    assert find_garbage(ws).artifacts  # nothing resolves to the first artifact any more
    ((level, text, fix),) = as_tuples(doctor.garbage(ws))
    assert level == "warn" and "in 1 artifacts" in text and fix.startswith("llm-assets artifacts gc")


def test_versions_of_python_and_packages_are_checked(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=99"\n')
    assert levels(doctor.python_version(tmp_path)) == ["bad"]
    assert levels(doctor.python_version(PROJECT)) == ["ok"]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("click==0.1\nnot-installed-here==1.0\npytest==" + pytest.__version__ + "\n")
    ((level, text, fix),) = as_tuples(doctor.package_versions(constraints))
    assert level == "warn" and text.startswith("1 packages") and "(pinned 0.1)" in text and "-c" in fix


def test_compiler_and_gpu_are_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    assert levels((*doctor.compiler(), *doctor.gpu())) == ["warn", "ok"]
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H100, 81559 MiB\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    ((level, text, fix),) = as_tuples(doctor.gpu())
    assert level == "bad" and "built for CPUs" in text and "torch==2.13.0" in fix
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.13.0+cu130")
    assert [(finding.level, "H100" in finding.text) for finding in doctor.gpu()] == [("ok", True)]
    program.write_text("#!/bin/sh\necho no driver >&2\nexit 9\n")
    assert as_tuples(doctor.gpu()) == [("bad", "nvidia-smi finds no GPU: no driver", "nvidia-smi")]


def test_doctor_is_quick_and_imports_no_heavy_package(project):
    program = (
        "import sys; from click.testing import CliRunner; from llm_assets.cli import cli;"
        "done = CliRunner().invoke(cli, ['doctor']);"
        "print(done.exit_code, [name for name in ('torch', 'mlflow') if name in sys.modules])"
    )
    environment = {**environment_for(load_settings().data), "PYTHONPATH": str(PROJECT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=environment, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.stdout.strip() == "0 []", result.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 8  # 3 s of CPU on an idle machine
