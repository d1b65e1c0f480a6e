"""What a training process does around its training: tell its parent how it goes, die with it, say what went wrong.

A job is a JSON file; events go to ``progress.jsonl`` beside it, one a line, and to Dagster's log where the process was
launched through Dagster Pipes. Several processes (torchrun) run the same module; the first of them reports.
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

LOG_SECONDS = 10.0


class Reporter:
    """Tells events to the parent and to Dagster's log; of other processes than the first, errors alone."""

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
            self._log(described(kind, values))

    def error(self, **values: Any) -> None:
        """Tell an error of any process: torchrun ends the others, the first perhaps before it has met its own."""
        if self._file is not None:
            self("error", **values)
            return
        with self._progress.open("a") as file:
            file.write(json.dumps({"kind": "error", **values}) + "\n")


def write_results(folder: Path, results: Any) -> None:
    """What an evaluation found, as ``results.json``, whole or not at all."""
    temporary = folder / f".{RESULTS}.tmp"
    temporary.write_text(json.dumps(results))
    os.replace(temporary, folder / RESULTS)


def described(kind: str, values: dict[str, Any]) -> str:
    """One line for a log."""
    if kind == "step":
        speed, left = values["tokens_per_second"], values["seconds_left"]
        used = f" MFU {values['mfu']:.1%}," if values.get("mfu") else ""
        return (
            f"step {values['step']:,} of {values['steps']:,}: loss {values['loss']:.3f}, {speed:,.0f} tokens/s,{used} "
            f"gradient {values['gradient_norm']:.2f}, rate {values['learning_rate']:.2g}, {left:,.0f} s left"
        )
    shown = ", ".join(
        f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )
    return f"{kind}: {shown}"


def _die_with_parent(parent: int) -> None:
    """End this process once `parent` is gone, however it went: nobody may write into its folder any longer."""
    while True:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(0.5)


def run_job(main: Callable[[Job, Path, Reporter], None], job_type: type[Job]) -> None:
    """Run `main(job, folder, report)` for the job file named on the command line; exit with 1 after telling an error.

    job_type: the dataclass that the job is of.
    """
    path = Path(sys.argv[1])
    rank = int(os.environ.get("RANK", "0"))
    pipes = _open_pipes() if rank == 0 else None
    report = Reporter(path.parent, rank, pipes.log.info if pipes else None)
    job = None
    try:
        job, parent = load_job(path.read_text(), job_type)
        if parent is not None:
            threading.Thread(target=_die_with_parent, args=(parent,), daemon=True).start()
        main(job, path.parent, report)
    except Exception as error:
        report.error(message=explained(error, job), errno=getattr(error, "errno", None))
        if isinstance(error, (ModelError, OSError)):
            sys.exit(1)  # the message says it all
        raise
    finally:
        if pipes is not None:
            pipes.close()


def explained(error: Exception, job: Any) -> str:
    """What went wrong, in words for who wrote the recipe."""
    # The second are torch's words on a CPU.
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error):
        where = "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "memory"
        return (
            f"out of {where}: lower compute.micro_batch_size of the training (now {_micro_batch_size(job)}; the same result, "
            "a little slower), or model.context, or model.depth"
        )
    return str(error) if isinstance(error, (ModelError, ValueError)) else f"{type(error).__name__}: {error}"


def _micro_batch_size(job: Any) -> int | None:
    """Sequences that a training's job takes through the model at once; None in other jobs."""
    return getattr(getattr(job, "plan", None), "micro_batch_size", None)


def _open_pipes() -> Any:
    """Dagster Pipes' context where this process was launched through it, else None."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ:
        return None
    from dagster_pipes import open_dagster_pipes

    return open_dagster_pipes()
