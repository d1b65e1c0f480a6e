"""The frame of a training process: reports events and errors to its parent, and ends when the parent does.

A job is a JSON file. Events go to ``progress.jsonl`` beside it, one per line, and to Dagster's log if the process was
launched with Dagster Pipes. With torchrun, several processes run the same module; only the first (rank 0) reports.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from llm_assets.model.shape import ModelError

from . import PROGRESS, RESULTS
from .jobs import Job, load_job
from .nodes import AGENT, is_where_it_started

LOG_SECONDS = 10.0


class Reporter:
    """Reports events to the parent process and to Dagster's log. Processes other than the first report only errors."""

    def __init__(self, folder: Path, rank: int, log: Callable[[str], None] | None = None):
        self._progress = folder / PROGRESS
        self._file = self._progress.open("a", buffering=1) if rank == 0 else None
        self._log = log if rank == 0 else None
        self._logged = 0.0

    def __call__(self, kind: str, **values: Any) -> None:
        if self._file is None:
            return
        self._file.write(json.dumps({"kind": kind, **values}) + "\n")
        if self._log is not None and (kind != "step" or time.monotonic() - self._logged >= LOG_SECONDS):
            self._logged = time.monotonic() if kind == "step" else self._logged
            self._log(event_line(kind, values))

    def error(self, **values: Any) -> None:
        """Report an error, from any process: torchrun may end the first process before it reaches an error itself."""
        if self._file is not None:
            self("error", **values)
            return
        with self._progress.open("a") as file:
            file.write(json.dumps({"kind": "error", **values}) + "\n")


def write_results(folder: Path, results: Any) -> None:
    """Write an evaluation's results to ``results.json``, atomically."""
    temporary = folder / f".{RESULTS}.tmp"
    temporary.write_text(json.dumps(results))
    os.replace(temporary, folder / RESULTS)


def event_line(kind: str, values: dict[str, Any]) -> str:
    """An event as a line for a log."""
    if kind == "step":
        speed, seconds_left = values["tokens_per_second"], values["seconds_left"]
        utilisation = f" MFU {values['mfu']:.1%}," if values.get("mfu") else ""
        return (
            f"step {values['step']:,} of {values['steps']:,}: loss {values['loss']:.3f}, {speed:,.0f} tokens/s,"
            f"{utilisation} gradient norm {values['gradient_norm']:.2f}, learning rate {values['learning_rate']:.2g}, "
            f"{seconds_left:,.0f} s left"
        )
    numbers = ", ".join(
        f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )
    return f"{kind}: {numbers}"


def _end_with(starter: int | None, torchrun: int | None) -> None:
    """End this process when the one that started the job has ended, or the torchrun that started this process.

    Nothing may write into its folder after that. torchrun ends its processes with itself, but not if it is killed.
    """
    while torchrun is None or os.getppid() == torchrun:
        try:
            if starter is not None:
                os.kill(starter, 0)
        except ProcessLookupError:
            break
        time.sleep(0.5)
    os._exit(1)


def run_job(main: Callable[[Job, Path, Reporter], None], job_type: type[Job]) -> None:
    """Run `main(job, folder, report)` for the job file named on the command line. After an error, exit with 1.

    job_type: the dataclass of the job. `launch.run_job` starts such a process.
    """
    path = Path(sys.argv[1])
    rank = int(os.environ.get("RANK", "0"))
    pipes = _open_pipes() if rank == 0 and is_where_it_started() else None  # Pipes' files are on that machine's disk
    report = Reporter(path.parent, rank, pipes.log.info if pipes else None)
    job = None
    try:
        job, parent = load_job(path.read_text(), job_type)
        starter = parent if is_where_it_started() else None
        torchrun = int(os.environ[AGENT]) if AGENT in os.environ else None
        if starter is not None or torchrun is not None:
            threading.Thread(target=_end_with, args=(starter, torchrun), daemon=True).start()
        main(job, path.parent, report)
    except Exception as error:
        report.error(message=error_message(error, job), errno=getattr(error, "errno", None))
        if isinstance(error, (ModelError, OSError)):
            sys.exit(1)  # a traceback would add nothing to the message
        raise
    finally:
        if pipes is not None:
            pipes.close()


def error_message(error: Exception, job: Any) -> str:
    """What went wrong, in terms of the recipe."""
    # On a CPU, torch raises a RuntimeError with these words.
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error):
        where = "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "memory"
        return (
            f"out of {where}: lower compute.micro_batch_size of the training (now {_micro_batch_size(job)}; the same "
            "result, a little slower), set compute.activation_checkpointing, or lower model.context or model.depth"
        )
    return str(error) if isinstance(error, (ModelError, ValueError)) else f"{type(error).__name__}: {error}"


def _micro_batch_size(job: Any) -> int | None:
    """The micro-batch size of a training job; None for other jobs."""
    return getattr(getattr(job, "plan", None), "micro_batch_size", None)


def _open_pipes() -> Any:
    """The context of Dagster Pipes if this process was launched with it, else None."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ:
        return None
    from dagster_pipes import open_dagster_pipes

    return open_dagster_pipes()
