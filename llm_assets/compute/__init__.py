"""Where work runs: this process, local worker processes, or a Ray cluster."""

from .engine import LocalEngine, cores
from .ray_engine import RayEngine

__all__ = ["LocalEngine", "RayEngine", "cores"]

# The file, beside its job, to which a training process writes its events.
PROGRESS = "progress.jsonl"
PROCESS_FAILED = "process_failed"  # kind of the event of a process that ended with an error or was killed
# Kinds of the events of torchrun on one of several machines, each with `host` and `agent`, torchrun's process there.
MACHINE_STARTED, MACHINE_ENDED = "machine_started", "machine_ended"
# The file, beside its job, to which an evaluation process writes its results.
RESULTS = "results.json"
