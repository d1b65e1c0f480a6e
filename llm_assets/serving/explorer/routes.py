"""All endpoints below ``/api/``."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from llm_assets.artifacts import Workspace
from llm_assets.settings import Settings

from ..checkpoints import Checkpoints
from .arena_routes import ChatAnswer, add_arena
from .compare_routes import add_compare
from .data_routes import add_data
from .pipeline_routes import add_pipeline
from .rank_routes import add_rank
from .reading import Reader
from .sql_routes import add_sql
from .tour_routes import add_tour
from .trace_routes import add_trace


def add_explorer(
    app: FastAPI, workspace: Workspace, settings: Settings, checkpoints: Checkpoints, answer: ChatAnswer
) -> None:
    """Add the endpoints of a workspace to an application. answer: samples a model's answer to a conversation."""
    reader, router = Reader(workspace, settings), APIRouter(prefix="/api")
    add_data(router, reader)
    add_sql(router, reader)
    add_pipeline(router, reader)
    add_trace(router, reader)
    add_rank(router, reader, checkpoints)
    add_arena(router, reader, checkpoints, answer)
    add_compare(router, reader, checkpoints)
    add_tour(router, reader)
    app.include_router(router)
