"""All endpoints below ``/api/``."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from llm_assets.artifacts import Workspace

from ..service import Service
from .arena_routes import add_arena
from .compare_routes import add_compare
from .contestants import ChatAnswer, names_question
from .data_routes import add_data
from .pipeline_routes import add_pipeline
from .rank_routes import add_rank
from .ranking_versions import RankingsBuilds
from .reading import Reader
from .sql_routes import add_sql
from .tour_routes import add_tour
from .trace_routes import add_trace


def add_explorer(app: FastAPI, workspace: Workspace, service: Service, answer: ChatAnswer) -> None:
    """Add the endpoints of a workspace to an application. answer: samples a model's answer to a conversation."""
    settings, checkpoints = service.settings, service.checkpoints
    reader, router = Reader(workspace, settings), APIRouter(prefix="/api")
    answer = names_question(answer)
    add_data(router, reader)
    add_sql(router, reader)
    add_pipeline(router, reader)
    add_trace(router, reader)
    add_rank(router, reader, service, answer, RankingsBuilds(service.recipe, settings))
    add_arena(router, reader, service, answer)
    add_compare(router, reader, checkpoints)
    add_tour(router, reader)
    app.include_router(router)
