"""What the last whole run found, kept beside Dagster's history: a run that has nothing to do tells it again without starting Dagster.

It holds only while every artifact is the same, the code and the recipe too, and no other run was written into the history since.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.record import write_atomic
from llm_assets.graph import GRAPH
from llm_assets.settings import PROJECT, Settings

FILE = "finished-run.json"
SOURCES = ("llm_assets", "resources", "sql")


def state_of(workspace: Workspace, settings: Settings) -> str | None:
    """Digest of all that a whole run depends on; None where an artifact is not built, or Dagster's history is not a file of this instance."""
    history = settings.dagster_home / "history" / "runs.db"
    if not history.exists():
        return None
    resolver, recipe = workspace.resolver(), workspace.recipe
    found = hashlib.sha256(f"{recipe.model_dump_json()} {history.stat().st_mtime_ns} {settings.store} {settings.mlflow_uri}".encode())
    for stage in GRAPH:
        for crawl in recipe.corpus() if stage.per_crawl else [None]:
            artifact = resolver.resolve(stage.name, crawl).artifact
            if artifact is None:
                return None
            found.update(f"{artifact.record.key} {artifact.record.identity} {artifact.data_version}".encode())
    for source in SOURCES:
        for path in sorted((PROJECT / source).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(PROJECT)} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return found.hexdigest()


def remember(workspace: Workspace, settings: Settings, told: dict[str, Any]) -> None:
    """Keep what a whole run found."""
    if state := state_of(workspace, settings):
        write_atomic(_file(settings), json.dumps({"state": state, **told}).encode())


def recall(workspace: Workspace, settings: Settings) -> dict[str, Any] | None:
    """What the last whole run found, if nothing has changed since."""
    try:
        kept = dict(json.loads(_file(settings).read_text()))
    except (OSError, ValueError):
        return None
    return kept if kept.get("state") == state_of(workspace, settings) else None


def _file(settings: Settings) -> Path:
    return settings.dagster_home / FILE
