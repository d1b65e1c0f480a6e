"""Where work runs: this process, or local worker processes."""

from .engine import LocalEngine, cores

__all__ = ["LocalEngine", "cores"]

# The file, beside its job, to which a training process writes its events.
PROGRESS = "progress.jsonl"
PROCESS_FAILED = "process_failed"  # kind of the event of a process that ended with an error or was killed
# The file, beside its job, to which an evaluation process writes its results.
RESULTS = "results.json"
