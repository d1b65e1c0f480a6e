"""Runs whose process was killed let go of what they held; those that live keep it."""

import signal
import subprocess
import sys

import dagster as dg
import pytest

from llm_assets.cli.killed_runs import alive, close_killed_runs
from llm_assets.settings import PROJECT

PROGRAM = """
import sys, time
from pathlib import Path
import dagster as dg
from llm_assets.cli.killed_runs import alive, close_killed_runs

@dg.op(pool="gpu")
def work():
    if sys.argv[1] == "hang":
        print("working", flush=True, file=sys.__stdout__)
        time.sleep(600)

@dg.job
def working():
    work()

with dg.DagsterInstance.get() as instance, alive(Path("processes")) as tags:
    close_killed_runs(instance, Path("processes"))
    assert working.execute_in_process(instance=instance, tags=tags, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}).success
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_after_a_kill_the_next_run_does_not_wait(home):
    with subprocess.Popen([sys.executable, "program.py", "hang"], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "working" in line:
                break
        process.send_signal(signal.SIGKILL)
    with dg.DagsterInstance.get() as instance:
        [run] = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.STARTED
        assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 1
    done = subprocess.run([sys.executable, "program.py", "work"], timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with dg.DagsterInstance.get() as instance:
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
        assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
    assert list((home / "processes").iterdir()) == []


def test_runs_that_live_and_runs_of_others_are_left_alone(home):
    @dg.job
    def nothing(): ...

    with dg.DagsterInstance.get() as instance, alive(home / "processes") as tags:
        mine, other = (instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED, tags=own) for own in (tags, {}))
        assert close_killed_runs(instance, home / "processes") == []
        assert {instance.get_run_by_id(run.run_id).status for run in (mine, other)} == {dg.DagsterRunStatus.STARTED}
