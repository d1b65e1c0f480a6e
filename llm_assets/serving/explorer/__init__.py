"""Endpoints below ``/api/``: the store, the pipeline, traces, rankings and the arena, for the pages that show them."""

from .reading import Reader
from .routes import add_explorer

__all__ = ["Reader", "add_explorer"]
