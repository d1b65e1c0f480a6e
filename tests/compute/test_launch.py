"""The environment of a job's process, and how its errors are reported."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import pytest
from torch.distributed.elastic.rendezvous import RendezvousTimeoutError

from llm_assets.compute import MACHINE_ENDED, MACHINE_STARTED, PROGRESS, launch, torchrun
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
    aborted = [process_failed(rank, -6, "SIGABRT") for rank in (0, 2)]
    assert fails_with(tmp_path, LOST, process_failed(1, 1), *aborted) == LOST["message"]
    assert "process 1 on node7 ended with exit code 3" in fails_with(tmp_path, process_failed(1, 3))


def test_the_only_process_that_aborts_is_named_beside_the_error(tmp_path):
    message = fails_with(tmp_path, *SAVED, LOST, process_failed(1, 1), process_failed(0, -6, "SIGABRT"))
    assert message.startswith(f"{LOST['message']}; process 0 on node7 was killed by SIGABRT; see its output")
    assert "the checkpoint of step 14 is kept" in message


def test_a_torn_line_is_counted_and_hides_no_other(tmp_path):
    def launcher(command, environment):
        lines = [
            json.dumps(SAVED[0]).encode(),
            b'{"kind": "st{"kind": "step"}',
            b"\0\xff",
            b"7",
            json.dumps(LOST).encode(),
        ]
        (tmp_path / PROGRESS).write_bytes(b"\n".join(lines) + b"\n")
        return 1

    with pytest.raises(JobFailed, match=f"^{LOST['message']}; 3 lines of progress.jsonl could not be read"):
        run_job("a.module", Job(), tmp_path, lambda event: None, launcher=launcher)


def machine(kind, host, agent=7):
    return {"kind": kind, "host": host, "agent": agent}


def test_a_machine_that_reports_no_end_is_named_with_the_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "MACHINES_SECONDS", 0.1)
    for name, value in MEETING.items():
        monkeypatch.setenv(name, value)
    started = [machine(MACHINE_STARTED, host) for host in ("node1", "node2")]
    message = fails_with(tmp_path, *started, *SAVED, LOST, machine(MACHINE_ENDED, "node1"))
    assert message.startswith(f"{LOST['message']}; torchrun on node2 has not reported its end")
    assert "the checkpoint of step 14 is kept" in message


def test_what_another_machine_reports_after_the_end_of_this_one_is_awaited(tmp_path, monkeypatch):
    for name, value in MEETING.items():
        monkeypatch.setenv(name, value)
    killed = process_failed(3, -9, "SIGKILL")
    events = [machine(MACHINE_STARTED, "node2"), *SAVED, LOST]

    def launcher(command, environment):
        append(tmp_path, *events)
        threading.Timer(1.0, append, (tmp_path, killed, machine(MACHINE_ENDED, "node2"))).start()
        return 1

    with pytest.raises(JobFailed, match="process 3 on node7 was killed by SIGKILL"):
        run_job("a.module", Job(), tmp_path, lambda event: None, processes=2, launcher=launcher)


def append(folder, *events):
    with (folder / PROGRESS).open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def test_machines_that_do_not_meet_are_reported_with_their_number(tmp_path, monkeypatch):
    monkeypatch.setenv("PET_RDZV_ENDPOINT", MEETING["PET_RDZV_ENDPOINT"])
    with pytest.raises(SystemExit), torchrun.reported(tmp_path / PROGRESS, Nodes(2)):
        raise RendezvousTimeoutError("timed out after 600 s")
    events = [json.loads(line) for line in (tmp_path / PROGRESS).read_text().splitlines()]
    assert [event["kind"] for event in events] == [MACHINE_STARTED, "error", MACHINE_ENDED]
    assert events[1]["message"].startswith("2 machines are expected at node1:29400, and ")
    assert events[1]["message"].endswith("has not met all of them: timed out after 600 s")


def test_a_launcher_can_end_its_processes_before_it_is_killed(tmp_path, monkeypatch):
    """An interrupted run asks the launcher to end, which here writes a file when it does."""
    script = tmp_path / "launcher.py"
    script.write_text(
        "import pathlib, signal, sys, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: ((folder / 'ended').touch(), sys.exit(1)))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])\n"
        "(folder / 'ready').touch()\n"
        "time.sleep(60)\n"
    )

    def interrupt(process, timeout=None):
        if timeout is None:
            while not (tmp_path / "ready").exists():
                time.sleep(0.01)
            raise KeyboardInterrupt
        return wait(process, timeout)

    wait = subprocess.Popen.wait
    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "wait", interrupt)
        patch.setattr(subprocess.Popen, "__exit__", lambda process, *error: None)
        with pytest.raises(KeyboardInterrupt):
            launch.subprocess_launcher(["env", sys.executable, str(script)], {**os.environ})
    assert (tmp_path / "ended").exists()


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
        ({"PET_RDZV_ENDPOINT": "node1"}, "PET_RDZV_ENDPOINT is 'node1'; it must be host:port"),
        ({"PET_RDZV_ENDPOINT": "node1:0"}, "PET_RDZV_ENDPOINT is 'node1:0'; it must be host:port"),
        ({"PET_RDZV_BACKEND": "static"}, "PET_RDZV_BACKEND is 'static'; several machines meet with c10d alone"),
        ({"PET_STANDALONE": "1"}, "PET_STANDALONE is '1', which does not go with PET_NNODES=2"),
        ({"PET_MAX_RESTARTS": "3"}, "PET_MAX_RESTARTS is '3', which does not go with PET_NNODES=2"),
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
