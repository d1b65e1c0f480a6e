"""torchrun, which also reports the processes that fail: each by its rank, host, and exit code or signal.

    python -m llm_assets.compute.torchrun [options of torchrun] -m module job.json

Where one process of several is killed, all others fail too, as they lose their connection to it. Their errors say
nothing of the cause. The reports are events in ``progress.jsonl`` beside the job.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from . import PROCESS_FAILED, PROGRESS


def rendezvous_id(job_file: Path) -> str:
    """A name for the meeting of several machines that only those have which run the same job."""
    job = json.loads(job_file.read_text())["job"]
    return hashlib.sha256(json.dumps(job).encode()).hexdigest()[:16]


def report_failures(progress: Path, error: ChildFailedError) -> None:
    """Append an event for each failed process of this machine."""
    with progress.open("a") as file:
        for rank, failure in error.failures.items():
            name = signal.Signals(-failure.exitcode).name if failure.exitcode < 0 else ""
            event = {"rank": rank, "host": socket.gethostname(), "exit_code": failure.exitcode, "signal": name}
            file.write(json.dumps({"kind": PROCESS_FAILED, **event}) + "\n")


if __name__ == "__main__":
    _job_file = Path(sys.argv[-1])
    os.environ.setdefault("PET_RDZV_ID", rendezvous_id(_job_file))
    try:
        main()
    except ChildFailedError as failed:
        report_failures(_job_file.with_name(PROGRESS), failed)
        sys.exit(1)  # torchrun has printed which processes failed
