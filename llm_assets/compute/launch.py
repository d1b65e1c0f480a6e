"""Runs a training job in processes of its own, so that its memory is given back and its crash is nobody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llm_assets.artifacts.record import write_atomic

from . import PROGRESS
from .devices import TrainingDevices
from .jobs import dump_job

# Runs a command with an environment to its end; returns its exit code. Dagster's goes through Pipes.
Launcher = Callable[[list[str], Mapping[str, str]], int]
POLL_SECONDS = 0.2
# glibc hands arrays of some megabytes back to the kernel and takes them anew, zeroed page by page, in every pass: kept,
# a step of the laptop's base model takes 162 ms instead of 193. One arena, or the backward pass's thread would fill
# another. Others than glibc do not read these.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


class JobFailed(RuntimeError):
    """A process that ended with an error; the message is its own, or what its exit code means."""


def subprocess_launcher(command: list[str], environment: Mapping[str, str]) -> int:
    with subprocess.Popen(
        command, env=dict(environment), stdout=sys.stderr.fileno() if hasattr(sys.stderr, "fileno") else None
    ) as process:
        try:
            return process.wait()
        except BaseException:
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
    """Run ``python -m module job.json`` (by torchrun where `processes` > 1) in `folder`, handing on its events.

    job: a frozen dataclass, which the process reads back as that type. Raises JobError where it is none, JobFailed with
    the process's own message, and OSError where that is a disk that cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    TrainingDevices.of_environment().to_environment()
    write_atomic(folder / "job.json", dump_job(job, os.getpid()).encode())
    (folder / PROGRESS).write_text("")
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += [module, str(folder / "job.json")]
    environment = {**ALLOCATOR, **os.environ, "PYTHONUNBUFFERED": "1"}
    failure: dict[str, Any] = {}
    problems: list[BaseException] = []
    ended = threading.Event()

    def follow() -> None:
        with (folder / PROGRESS).open() as file:
            while True:
                done = ended.is_set()  # asked before reading: what was written before the end is read after it
                while line := file.readline():
                    if not line.endswith("\n"):
                        file.seek(file.tell() - len(line.encode()))
                        break
                    event = json.loads(line)
                    if event["kind"] == "error":
                        failure.update(failure or event)  # the first is the cause; others lose their connection to it
                    elif not problems:
                        try:
                            on_event(event)
                        except Exception as error:
                            problems.append(error)
                if done:
                    return
                ended.wait(POLL_SECONDS)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        code = (launcher or subprocess_launcher)(command, environment)
    finally:
        ended.set()
        follower.join()
    if problems:
        raise problems[0]
    if code:
        if failure.get("errno"):
            raise OSError(failure["errno"], failure["message"])
        raise JobFailed(failure.get("message") or _meaning(code))


def _meaning(code: int) -> str:
    if code in (-9, 137):
        return (
            "the process was killed (out of memory, most often): lower compute.micro_batch_size of the training, model.context "
            "or model.depth; what was saved is kept, and the next run goes on from there"
        )
    return f"the process ended with exit code {code}; its output says why"
