"""The environment of a job's process, and how its errors are reported."""

import json
import socket
from dataclasses import dataclass

import pytest

from llm_assets.compute import PROGRESS
from llm_assets.compute.allocator import ALLOCATOR
from llm_assets.compute.launch import JobFailed, run_job
from llm_assets.compute.nodes import STARTED_ON, Nodes, is_where_it_started
from llm_assets.compute.process import Reporter


@dataclass(frozen=True)
class Job:
    steps: int = 1


def test_a_process_keeps_its_memory_unless_the_environment_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    received = {}

    def launcher(command, environment):
        received.update(environment)
        return 0

    run_job("a.module", Job(), tmp_path, lambda event: None, launcher=launcher)
    assert {name: received[name] for name in ALLOCATOR} == {**ALLOCATOR, "MALLOC_ARENA_MAX": "4"}


def test_the_first_error_is_reported_whichever_process_raised_it(tmp_path):
    events = []

    def launcher(command, environment):
        first, second = Reporter(tmp_path, 0), Reporter(tmp_path, 1)
        first("step", step=1)
        second("step", step=1)
        second.error(message="no memory left", errno=None)
        first.error(message="the connection is closed", errno=None)
        return 1

    with pytest.raises(JobFailed, match="no memory left"):
        run_job("a.module", Job(), tmp_path, events.append, launcher=launcher)
    assert events == [{"kind": "step", "step": 1}]


def fails_with(folder, *events):
    """The message of a job whose processes write these events and fail."""

    def launcher(command, environment):
        (folder / PROGRESS).write_text("".join(json.dumps(event) + "\n" for event in events))
        return 1

    with pytest.raises(JobFailed) as failure:
        run_job("a.module", Job(), folder, lambda event: None, processes=2, launcher=launcher)
    return str(failure.value)


def process_failed(rank, exit_code, signal=""):
    return {"kind": "process_failed", "rank": rank, "host": "node7", "exit_code": exit_code, "signal": signal}


LOST = {"kind": "error", "message": "RuntimeError: connection closed by peer"}
SAVED = [{"kind": "started", "step": 0}, {"kind": "checkpoint", "step": 14}]


def test_a_killed_process_is_named_with_the_last_checkpoint_whatever_the_others_report(tmp_path):
    aborted, killed = process_failed(0, -6, "SIGABRT"), process_failed(3, -9, "SIGKILL")
    message = fails_with(tmp_path, *SAVED, LOST, aborted, killed)
    assert message == (
        "process 3 on node7 was killed by SIGKILL (out of memory, most often); the checkpoint of step 14 is kept, and "
        "the next run, with any number of processes, continues from there"
    )
    assert fails_with(tmp_path, SAVED[0], LOST, killed).endswith("; no checkpoint was saved yet")


def test_an_error_is_reported_rather_than_the_process_that_had_it(tmp_path):
    assert fails_with(tmp_path, LOST, process_failed(1, 1), process_failed(0, -6, "SIGABRT")) == LOST["message"]
    assert "process 1 on node7 ended with exit code 3" in fails_with(tmp_path, process_failed(1, 3))


def command_of(folder, processes):
    commands = []

    def launcher(command, environment):
        commands.append(command)
        return 0

    run_job("a.module", Job(), folder, lambda event: None, processes=processes, launcher=launcher)
    return commands[0]


MEETING = {"PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "node1:29400"}


def test_several_machines_run_the_same_command_and_share_the_processes(tmp_path, monkeypatch):
    assert "--standalone" in command_of(tmp_path, 4)
    for name, value in {**MEETING, "LLM_ASSETS_LAUNCH": "srun --ntasks-per-node=1"}.items():
        monkeypatch.setenv(name, value)
    command = command_of(tmp_path, 4)
    assert command[:2] == ["srun", "--ntasks-per-node=1"]
    assert "--nproc-per-node=2" in command and "--standalone" not in command
    with pytest.raises(ValueError, match="3 processes cannot be divided among PET_NNODES=2 machines"):
        command_of(tmp_path, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PET_NNODES": "1:4"}, "PET_NNODES is '1:4'; it must be a number of machines"),
        ({"PET_RDZV_ENDPOINT": ""}, "PET_NNODES is 2, but PET_RDZV_ENDPOINT is not set"),
    ],
)
def test_settings_with_which_machines_would_not_meet_are_an_error(monkeypatch, changes, message):
    for name, value in {**MEETING, **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        Nodes.from_environment()


def test_only_the_machine_that_started_a_job_knows_its_parent(monkeypatch):
    assert is_where_it_started()
    monkeypatch.setenv(STARTED_ON, socket.gethostname())
    assert is_where_it_started()
    monkeypatch.setenv(STARTED_ON, "another")
    assert not is_where_it_started()
