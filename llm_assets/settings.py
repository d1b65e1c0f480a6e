"""Where this installation keeps its data. Paths and worker counts live here, never in a recipe."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dotenv import find_dotenv, load_dotenv

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Environment variables, with defaults below ``data/`` of the project (or of the working directory)."""

    store: str
    mlflow_uri: str
    workers: int | None
    dagster_home: Path
    data: Path

    @property
    def digest_cache(self) -> Path:
        return self.data / "digests.json"


def data_folder() -> Path:
    """LLM_ASSETS_DATA, or ``data/`` beside the package when run from a checkout, else in the working directory."""
    configured = os.environ.get("LLM_ASSETS_DATA")
    if configured:
        return Path(configured).absolute()
    return (PROJECT if (PROJECT / "pyproject.toml").exists() else Path.cwd()) / "data"


def load_settings() -> Settings:
    """Read the environment (and a `.env` file in or above the working directory, which never overrides it).

    Raises ValueError naming the variable for a worker count that is no positive number.
    """
    load_dotenv(find_dotenv(usecwd=True))
    data = data_folder()
    workers = os.environ.get("LLM_ASSETS_WORKERS")
    if workers is not None and (not workers.isdigit() or int(workers) < 1):
        raise ValueError(f"LLM_ASSETS_WORKERS is {workers!r}; it must be a positive number")
    return Settings(
        store=os.environ.get("LLM_ASSETS_STORE") or str(data / "artifacts"),
        mlflow_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{data / 'mlflow' / 'mlflow.db'}",
        workers=int(workers) if workers else None,
        dagster_home=Path(os.environ.get("DAGSTER_HOME") or data / "dagster"),
        data=data,
    )
