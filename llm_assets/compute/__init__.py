"""Where work runs: this process, or local worker processes."""

from .engine import LocalEngine, cores

__all__ = ["LocalEngine", "cores"]
