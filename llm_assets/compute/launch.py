"""Runs a training job in separate processes, so that its memory is returned and its crash affects nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llm_assets.artifacts.record import write_atomic

from . import MACHINE_ENDED, MACHINE_STARTED, PROCESS_FAILED, PROGRESS
from .allocator import ALLOCATOR
from .devices import TrainingDevices
from .forks import can_fork_training, run_module
from .jobs import dump_job
from .nodes import STARTED_ON, Nodes

# Runs a command with an environment until it ends; returns its exit code. Dagster's launcher uses Pipes.
Launcher = Callable[[list[str], Mapping[str, str]], int]
TORCHRUN = "llm_assets.compute.torchrun"
POLL_SECONDS = 0.2
# A process that loses its connection to another may end itself with this signal, which therefore is no cause.
CONSEQUENCE = "SIGABRT"
# How long a launcher such as srun has to end its processes on all machines before it is killed. Slurm gives them 30.
LAUNCHER_SECONDS = 35.0
# How long torchruns of other machines may take to report their end, after that of this one.
MACHINES_SECONDS = 10.0


class JobFailed(RuntimeError):
    """A process ended with an error. The message is the process's own, or explains its exit code."""


def subprocess_launcher(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a command in a process, with its output on this process's standard error; ``python -m module`` as a fork.

    If this process is interrupted, the command is killed; one that starts processes on other machines is asked to end
    first (SIGTERM), since it alone can end those.
    """
    output = sys.stderr.fileno() if hasattr(sys.stderr, "fileno") else None
    interpreter, option, module, *arguments = command
    if can_fork_training() and (interpreter, option) == (sys.executable, "-m") and module != TORCHRUN:
        return run_module(module, arguments, environment, 1 if output is None else output)
    with subprocess.Popen(command, env=dict(environment), stdout=output) as process:
        try:
            return process.wait()
        except BaseException:
            if interpreter != sys.executable:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LAUNCHER_SECONDS)
            process.kill()
            raise


def run_job(
    module: str,
    job: Any,
    folder: Path,
    on_event: Callable[[dict[str, Any]], None],
    processes: int = 1,
    launcher: Launcher | None = None,
) -> None:
    """Run ``python -m module job.json`` (with torchrun if `processes` > 1), and pass its events to `on_event`.

    folder: for the job, the events and the results; on several machines, it is on a disk that they share. job: a frozen
    dataclass; the process reads it back as the same type, with `process.run_job`. processes: on all machines together.

    Raises JobError if `job` is not a dataclass of plain values, JobFailed with the process's own message, OSError if
    the process could not write to its disk, ValueError for settings of `Nodes` that do not go together, and any error
    of `on_event`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    TrainingDevices.from_environment().to_environment()
    nodes = Nodes.from_environment()
    write_atomic(folder / "job.json", dump_job(job, os.getpid()).encode())
    (folder / PROGRESS).write_text("")
    command = [sys.executable, "-m"]
    if processes > 1:
        command = [*nodes.command, *command, TORCHRUN, *nodes.options(processes), "-m"]
    command += [module, str(folder / "job.json")]
    environment = {**ALLOCATOR, **os.environ, "PYTHONUNBUFFERED": "1", STARTED_ON: socket.gethostname()}
    follower = _EventFollower(folder / PROGRESS, on_event)
    follower.start()
    try:
        code = (launcher or subprocess_launcher)(command, environment)
        if code:
            follower.wait_for_machines()
    finally:
        follower.finish()
    if follower.listener_error is not None:
        raise follower.listener_error
    if code:
        raise _failure(code, follower, nodes.count)


class _EventFollower:
    """A thread that reads a process's events while they are written, and passes them to a listener.

    failure: the first error event. failed: events of torchrun's processes that failed. machines: the hosts of torchruns
    that have started and not ended, by host and process. unreadable: lines that are no events, as where machines write
    to a network disk at once. checkpoint: the step of the last one that was saved. listener_error: the first exception
    of the listener, which is not called after it.
    """

    def __init__(self, path: Path, on_event: Callable[[dict[str, Any]], None]):
        self._path, self._on_event = path, on_event
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.failure: dict[str, Any] = {}
        self.failed: list[dict[str, Any]] = []
        self.machines: dict[tuple[str, int], str] = {}
        self.unreadable = 0
        self.checkpoint: int | None = None
        self.listener_error: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def wait_for_machines(self) -> None:
        """Wait for the ends of the torchruns that have started, for a limited time."""
        deadline = time.monotonic() + MACHINES_SECONDS
        self._ended.wait(2 * POLL_SECONDS)  # what was written until now is read
        while self.machines and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def finish(self) -> None:
        """Read the remaining events of a process that has ended."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        with self._path.open("rb") as file:
            while True:
                is_last_pass = self._ended.is_set()  # tested before reading, so that the last pass misses nothing
                while line := file.readline():
                    if not line.endswith(b"\n"):
                        file.seek(file.tell() - len(line))
                        break
                    self._read(line)
                if is_last_pass:
                    return
                self._ended.wait(POLL_SECONDS)

    def _read(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and "kind" in event:
            self._handle(event)
        else:
            self.unreadable += 1

    def _handle(self, event: dict[str, Any]) -> None:
        if event["kind"] == "error":
            # The first error is the cause: after it, the other processes lose their connection to the failed one.
            self.failure = self.failure or event
            return
        if event["kind"] == PROCESS_FAILED:
            self.failed.append(event)
            return
        if event["kind"] == MACHINE_STARTED:
            self.machines[event["host"], event["agent"]] = event["host"]
            return
        if event["kind"] == MACHINE_ENDED:
            self.machines.pop((event["host"], event["agent"]), None)
            return
        if event["kind"] in ("started", "checkpoint"):  # a run that starts at step 0 has no checkpoint
            self.checkpoint = event.get("step") or None
        if self.listener_error is None:
            try:
                self._on_event(event)
            except Exception as error:
                self.listener_error = error


def _failure(code: int, follower: _EventFollower, machines: int) -> Exception:
    """The error of a job that ended with this exit code, on so many machines."""
    failure, failed = follower.failure, follower.failed
    # After a process's own error, torchrun ends the others with SIGTERM.
    consequences = (CONSEQUENCE, "SIGTERM") if failure else (CONSEQUENCE,)
    killed = [event for event in failed if event["signal"] not in ("", *consequences)]
    aborted = [event for event in failed if event["signal"] == CONSEQUENCE]
    # What the other processes report of a killed one is that they have lost it.
    causes = killed or (aborted if len(aborted) == 1 else [])
    notes = []
    if killed or (failed and not failure):
        notes.append(_process_message((causes or failed)[0]))
    elif failure.get("errno"):
        return OSError(failure["errno"], failure["message"])
    else:
        notes.append(failure.get("message") or _exit_code_message(code))
        # Others that lost it abort as well. One alone may be the cause, such as an assertion of CUDA.
        notes += map(_process_message, causes)
    if failed or machines > 1:
        if follower.machines:
            hosts = ", ".join(sorted(follower.machines.values()))
            notes.append(f"torchrun on {hosts} has not reported its end, so that machine may be lost")
        if causes or not failure or machines > 1:
            notes.append(_saved_message(follower.checkpoint))
    if follower.unreadable:
        notes.append(f"{follower.unreadable} lines of {PROGRESS} could not be read")
    return JobFailed("; ".join(notes))


def _process_message(event: dict[str, Any]) -> str:
    """Which of several processes failed, and how."""
    end = f"was killed by {event['signal']}" if event["signal"] else f"ended with exit code {event['exit_code']}"
    reason = " (out of memory, most often)" if event["signal"] == "SIGKILL" else "; see its output for the reason"
    return f"process {event['rank']} on {event['host']} {end}{reason}"


def _saved_message(checkpoint: int | None) -> str:
    if checkpoint is None:
        return "no checkpoint was saved yet"
    return (
        f"the checkpoint of step {checkpoint} is kept, and the next run, with any number of processes, continues from "
        "there"
    )


def _exit_code_message(code: int) -> str:
    if code in (-9, 137):
        return (
            "the process was killed (out of memory, most often): lower compute.micro_batch_size of the training, "
            "model.context or model.depth; what was saved is kept, and the next run continues from there"
        )
    return f"the process ended with exit code {code}; see its output for the reason"
