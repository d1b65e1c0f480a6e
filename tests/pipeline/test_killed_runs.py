"""Runs whose process was killed release their slots in a pool, however they were started; live runs keep theirs."""

import signal
import subprocess
import sys
import threading
import time

import dagster as dg
import pytest

from llm_assets.settings import PROJECT, load_settings
from resources import Compute
from resources.live_runs import announce_run, close_killed_runs, close_run, is_over, pool_waits, was_killed

# Runs a job without any command of the project: the `compute` resource is set up in the process of the run.
PROGRAM = """
import sys, time
import dagster as dg
from resources import Compute

@dg.op(pool="gpu")
def work(compute: Compute):
    if sys.argv[1] == "hang":
        print("working", flush=True, file=sys.__stdout__)
        time.sleep(600)

@dg.job(resource_defs={"compute": Compute()}, executor_def=dg.in_process_executor)
def working():
    work()

with dg.DagsterInstance.get() as instance:
    assert dg.execute_job(dg.reconstructable(working), instance).success
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a Dagster instance and a program that runs a job on it."""
    (tmp_path / "home").mkdir()
    # Without captured output, because the processes that copy it outlive a run on a busy machine.
    no_logs = (
        "compute_logs:\n  module: dagster._core.storage.noop_compute_log_manager\n  class: NoOpComputeLogManager\n"
    )
    (tmp_path / "home" / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text() + no_logs)
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def announced_processes():
    """The files that announce the live processes of runs."""
    return list((load_settings().data / "processes").iterdir())


@pytest.fixture
def killed_run(home):
    """A run whose process was killed while its step held the pool's slot."""
    with subprocess.Popen([sys.executable, "program.py", "hang"], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "working" in line:
                break
        [path] = announced_processes()
        assert not was_killed(path.name)
        process.send_signal(signal.SIGKILL)
    with dg.DagsterInstance.get() as instance:
        [run] = instance.get_runs()
        assert run.run_id == path.name and run.status == dg.DagsterRunStatus.STARTED
        assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 1
    return run


def test_any_run_gets_the_slot_of_a_killed_one(killed_run):
    done = subprocess.run([sys.executable, "program.py", "work"], timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The killed run is closed, the pool is free again, and no process is announced.
    with dg.DagsterInstance.get() as instance:
        assert instance.get_run_by_id(killed_run.run_id).status == dg.DagsterRunStatus.FAILURE
        assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
    assert announced_processes() == []


def test_a_command_closes_killed_runs_when_it_starts(killed_run):
    with dg.DagsterInstance.get() as instance:
        assert close_killed_runs(instance) == [killed_run.run_id]
        assert instance.get_run_by_id(killed_run.run_id).status == dg.DagsterRunStatus.FAILURE
        assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
        assert close_killed_runs(instance) == [] == announced_processes()


@pytest.fixture
def instance(home):
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
        yield instance


@dg.job
def nothing(): ...


def start(instance, **tags):
    return instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED, tags=tags)


def test_live_runs_and_runs_that_were_not_announced_are_left_alone(instance):
    mine, other = start(instance), start(instance)
    with announce_run(mine.run_id):
        assert close_killed_runs(instance) == []
        assert not is_over(instance, mine.run_id) and not is_over(instance, other.run_id)
        instance.report_run_canceled(mine)  # marked in the UI, while its process still uses the GPU
        assert not is_over(instance, mine.run_id)
    assert is_over(instance, mine.run_id) and announced_processes() == []
    assert instance.get_run_by_id(other.run_id).status == dg.DagsterRunStatus.STARTED


def test_a_retried_run_is_not_taken_for_the_killed_one(killed_run):
    """Dagster copies the tags of the earlier run, so tags must not say which process is alive."""
    with dg.DagsterInstance.get() as instance:
        again = start(instance, **killed_run.tags)
        assert close_killed_runs(instance) == [killed_run.run_id]
        assert instance.get_run_by_id(again.run_id).status == dg.DagsterRunStatus.STARTED


def test_a_waiting_run_names_the_run_that_holds_the_pool(instance):
    storage, first, second = instance.event_log_storage, start(instance), start(instance)
    with announce_run(first.run_id), announce_run(second.run_id):
        assert storage.claim_concurrency_slot("gpu", first.run_id, "training").is_claimed
        assert not storage.claim_concurrency_slot("gpu", second.run_id, "evaluation").is_claimed
        assert pool_waits(instance, first.run_id) == {}
        reason = f"for run {first.run_id[:8]} (training), which holds the pool 'gpu'"
        assert pool_waits(instance, second.run_id, close_dead=True) == {"evaluation": reason}
        close_run(instance, first.run_id)
        assert pool_waits(instance, second.run_id) == {"evaluation": "for the pool 'gpu'"}
        assert storage.claim_concurrency_slot("gpu", second.run_id, "evaluation").is_claimed
        assert pool_waits(instance, second.run_id) == {}


def test_the_log_of_a_dagster_run_says_what_it_waits_for(instance, monkeypatch):
    monkeypatch.setattr("resources.live_runs.WATCH_SECONDS", 0.1)
    first = start(instance)
    instance.event_log_storage.claim_concurrency_slot("gpu", first.run_id, "training")

    @dg.op(pool="gpu")
    def work(compute: Compute): ...

    @dg.job(resource_defs={"compute": Compute()}, executor_def=dg.in_process_executor)
    def working():
        work()

    def messages():
        runs = [run for run in instance.get_runs() if run.job_name == "working"]
        return [entry.user_message for run in runs for entry in instance.all_logs(run.run_id)]

    reason = f"work: waiting for run {first.run_id[:8]} (training), which holds the pool 'gpu'"
    with announce_run(first.run_id):
        waiting = threading.Thread(target=lambda: working.execute_in_process(instance=instance))
        waiting.start()
        deadline = time.monotonic() + 30
        while reason not in messages() and time.monotonic() < deadline:
            time.sleep(0.2)
        close_run(instance, first.run_id)
    waiting.join(60)
    assert not waiting.is_alive() and messages().count(reason) == 1
