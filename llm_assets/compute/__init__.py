"""Where work runs: this process, or local worker processes."""

from .engine import LocalEngine, cores

__all__ = ["LocalEngine", "cores"]

# The file in which a training process tells its events, beside its job.
PROGRESS = "progress.jsonl"
# The file in which an evaluation's process leaves what it found.
RESULTS = "results.json"
