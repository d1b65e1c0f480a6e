"""Runs that wait, are killed, or are interrupted: what they print, and what they leave for other runs."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from llm_assets.graph import open_workspace
from resources.live_runs import announce_run
from tests.support.commands import command_here, environment_for

INTERRUPTED = "interrupted; run again to resume\n"
PATIENCE = 90  # seconds until a started command prints something, on a busy machine


class BackgroundCommand:
    """`llm-assets` with these words, in the background, in a process group of its own as a terminal starts it."""

    def __init__(self, project: Path, name: str, *words: str, recipe: str = "mine", **extra: str):
        self.out, self.err = project / f"{name}.out", project / f"{name}.err"
        environment = environment_for(project / "data", LLM_ASSETS_RECIPE=f"{project}/recipe.py:{recipe}", **extra)
        program = str(Path(sys.executable).with_name("llm-assets"))
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [program, *words], cwd=project, env=environment, stdout=out, stderr=err, start_new_session=True
            )

    def wait_for(self, text: str) -> str:
        """The output so far, once `text` is in it."""
        deadline = time.monotonic() + PATIENCE
        while text not in (output := self.out.read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, output + self.err.read_text()
            time.sleep(0.1)
        return output

    def interrupt(self) -> float:
        """Press Ctrl-C: a terminal sends it to every process of the group. Seconds until the command has ended."""
        began = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)
        return time.monotonic() - began

    def group_is_gone(self) -> bool:
        """Whether every process of the command ends within ten seconds."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.1)
        return False


@pytest.fixture
def instance(run_project, monkeypatch):
    """The Dagster instance of the run_project, whose settings are those of this process."""
    monkeypatch.setenv("DAGSTER_HOME", str(run_project / "data" / "dagster"))
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{run_project}/recipe.py:mine")
    with dg.DagsterInstance.get() as instance:
        yield instance


@contextlib.contextmanager
def pool_held_by(instance, step="sft_checkpoint"):
    """A run, of this process, whose step holds the slot of the pool `gpu` within the block."""

    @dg.job
    def other(): ...

    run = instance.create_run_for_job(other, status=dg.DagsterRunStatus.STARTED)
    instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
    with announce_run(run.run_id):
        assert instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, step).is_claimed
        try:
            yield run
        finally:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            instance.report_run_canceled(run)


def test_a_killed_waiting_run_gives_its_turn_to_a_live_one(run_project, instance):
    """The first of two waiting runs is killed. The slot, once it is free, is assigned to it; the second gets it."""
    with pool_held_by(instance):
        killed = BackgroundCommand(run_project, "killed", "run", "--select", "base_checkpoint")
        killed.wait_for("base_checkpoint: waiting for run")
        live = BackgroundCommand(run_project, "live", "run", "--select", "base_checkpoint")
        live.wait_for("base_checkpoint: waiting for run")
        os.killpg(killed.process.pid, signal.SIGKILL)
        killed.process.wait()
    assert live.process.wait(PATIENCE) == 0, live.out.read_text() + live.err.read_text()
    assert "base_checkpoint: finished" in live.out.read_text()
    statuses = [run.status for run in instance.get_runs(limit=2)]
    assert sorted(status.value for status in statuses) == ["FAILURE", "SUCCESS"]
    pool = instance.event_log_storage.get_concurrency_info("gpu")
    assert (pool.claimed_slots, pool.pending_steps) == ([], [])


def test_a_run_names_the_run_that_holds_the_pool_and_an_interrupt_ends_it(run_project, instance):
    with pool_held_by(instance) as other:
        run = BackgroundCommand(run_project, "waits", "run", "--select", "base_checkpoint", recipe="slow")
        holder = f"run {other.run_id[:8]} (sft_checkpoint), which holds the pool 'gpu'"
        assert f"base_checkpoint: waiting for {holder}\n" in run.wait_for("waiting")
        status = command_here(run_project, "status").stdout.splitlines()
        waiting = instance.get_runs(limit=1)[0]
        assert f"run {waiting.run_id[:8]} (base_checkpoint waits for run {other.run_id[:8]}" in status[-1]
        assert run.interrupt() < 8
    assert run.process.returncode == 130 and run.err.read_text() == INTERRUPTED
    assert instance.get_run_by_id(waiting.run_id).status == dg.DagsterRunStatus.CANCELED
    assert instance.event_log_storage.get_concurrency_info("gpu").pending_steps == []


def test_a_run_names_the_run_that_builds_what_it_waits_for(run_project, instance):
    identity = open_workspace().resolver().resolve("search_index", None).identity
    builder = f"run 01234567 (process {os.getpid()} on "
    with open_workspace().store.lock(identity, run_id="0123456789abcdef"):
        run = BackgroundCommand(run_project, "locked", "run", "--select", "search_index")
        output = run.wait_for("waiting")
        assert f"search_index: waiting for {builder}" in output and "which is building it" in output
        running = command_here(run_project, "status").stdout.splitlines()[-1]
        assert f"build of search_index by {builder}" in running and " since 20" in running
        assert run.interrupt() < 8
    assert run.process.returncode == 130 and run.err.read_text() == INTERRUPTED


def mlflow_runs(project):
    """Name and status of the runs that MLflow has of a project; none before its database is complete."""
    path = project / "data" / "mlflow" / "mlflow.db"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(path)) as database:
        try:
            return database.execute("SELECT name, status FROM runs").fetchall()
        except sqlite3.OperationalError:  # the table is not there yet, or is being written
            return []


def wait_for_mlflow_run(project):
    deadline = time.monotonic() + PATIENCE
    while not mlflow_runs(project):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_interrupt_ends_a_training_at_once_and_leaves_the_pool_free(run_project, instance):
    tracking = {"LLM_ASSETS_TRACKING": "on"}
    run = BackgroundCommand(run_project, "trains", "run", "--select", "base_checkpoint", recipe="slow", **tracking)
    run.wait_for("base_checkpoint: started")
    wait_for_mlflow_run(run_project)
    time.sleep(4)  # enough for its process to start; the first line of progress could come after a fast machine's end
    assert run.interrupt() < 8
    assert run.process.returncode == 130 and run.err.read_text().endswith(INTERRUPTED)  # after MLflow's own lines
    assert "Traceback" not in run.out.read_text() + run.err.read_text() and run.group_is_gone()
    assert instance.get_runs(limit=1)[0].status == dg.DagsterRunStatus.CANCELED
    assert mlflow_runs(run_project) == [("base_checkpoint", "KILLED")]
    again = BackgroundCommand(run_project, "again", "run", "--select", "base_checkpoint", recipe="slow")
    assert "waiting" not in again.wait_for("base_checkpoint: started")
    os.kill(again.process.pid, signal.SIGTERM)
    assert again.process.wait(30) == 143 and again.err.read_text() == INTERRUPTED and again.group_is_gone()


def test_an_interrupt_ends_a_crawl_at_once(run_project, instance):
    run = BackgroundCommand(run_project, "crawls", "run", "--select", "raw_warc", recipe="web")
    run.wait_for("raw_warc/site: started")
    time.sleep(3)
    assert run.interrupt() < 8
    assert run.process.returncode == 130 and run.err.read_text() == INTERRUPTED and run.group_is_gone()
