"""torchrun, which also reports its machine, and the processes that fail: each by rank, host, and exit code or signal.

    python -m llm_assets.compute.torchrun [options of torchrun] -m module job.json

Where one process of several is killed, all others fail too, as they lose their connection to it. Their errors say
nothing of the cause. The reports are events in ``progress.jsonl`` beside the job.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousTimeoutError
from torch.distributed.run import main

from . import MACHINE_ENDED, MACHINE_STARTED, PROCESS_FAILED, PROGRESS
from .nodes import AGENT, Nodes


def rendezvous_id(job_file: Path) -> str:
    """A name for the meeting of several machines that only those have which run the same job."""
    job = json.loads(job_file.read_text())["job"]
    return hashlib.sha256(json.dumps(job).encode()).hexdigest()[:16]


def report(progress: Path, kind: str, **values: Any) -> None:
    """Append an event of this machine, in one write."""
    line = json.dumps({"kind": kind, "host": socket.gethostname(), **values}) + "\n"
    with progress.open("ab", buffering=0) as file:
        file.write(line.encode())


def report_failures(progress: Path, error: ChildFailedError) -> None:
    """Append an event for each failed process of this machine."""
    for rank, failure in error.failures.items():
        name = signal.Signals(-failure.exitcode).name if failure.exitcode < 0 else ""
        report(progress, PROCESS_FAILED, rank=rank, exit_code=failure.exitcode, signal=name)


@contextlib.contextmanager
def reported(progress: Path, nodes: Nodes) -> Iterator[None]:
    """Report what torchrun raises, and end this process with 1. On several machines, also report start and end.

    A machine that has started and not ended is one that was lost.
    """
    if nodes.count > 1:
        report(progress, MACHINE_STARTED, agent=os.getpid())
    try:
        yield
    except ChildFailedError as failed:
        report_failures(progress, failed)
        sys.exit(1)  # torchrun has printed which processes failed
    except (RendezvousTimeoutError, RendezvousConnectionError) as error:
        endpoint = os.environ.get("PET_RDZV_ENDPOINT", "")
        message = (
            f"{nodes.count} machines are expected at {endpoint}, and {socket.gethostname()} has not met all of them: "
            f"{error or type(error).__name__}"
        )
        report(progress, "error", message=message)
        sys.exit(message)
    finally:
        if nodes.count > 1:
            report(progress, MACHINE_ENDED, agent=os.getpid())


if __name__ == "__main__":
    _job_file = Path(sys.argv[-1])
    os.environ.setdefault("PET_RDZV_ID", rendezvous_id(_job_file))
    os.environ[AGENT] = str(os.getpid())
    with reported(_job_file.with_name(PROGRESS), Nodes.from_environment()):
        main()
