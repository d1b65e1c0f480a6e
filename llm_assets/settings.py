"""Where this installation stores its data. Paths and worker counts belong here, never in a recipe."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from dotenv import find_dotenv, load_dotenv

PROJECT = Path(__file__).resolve().parent.parent
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Settings:
    """Settings of the installation, from environment variables.

    store: a folder, or a URL of object storage. workers: None uses every core. Paths default to below `data`.
    ray_address: of the Ray cluster that runs tasks, or empty for this machine. ray_task_bytes: memory that each task
    asks for there; None estimates it from the size of its inputs.
    mlflow_uri: where runs are tracked. mlflow_url, dagster_url: where their web interfaces are, for links.
    """

    store: str
    mlflow_uri: str
    mlflow_url: str
    dagster_url: str
    workers: int | None
    dagster_home: Path
    data: Path
    ray_address: str = ""
    ray_task_bytes: int | None = None

    @property
    def digest_cache(self) -> Path:
        """The cache file of digests of external inputs."""
        return self.data / "digests.json"


def data_folder() -> Path:
    """LLM_ASSETS_DATA, or else ``data/``: beside the package in a checkout, otherwise in the working directory."""
    configured = os.environ.get("LLM_ASSETS_DATA")
    if configured:
        return Path(configured).absolute()
    return (PROJECT if (PROJECT / "pyproject.toml").exists() else Path.cwd()) / "data"


def sqlite_uri(file: Path) -> str:
    """The URI of an SQLite database. SQLAlchemy decodes its path, and ends it at a question mark."""
    return f"{_SQLITE}{str(file).replace('%', '%25').replace('?', '%3F')}"


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite database by its URI; None for another database or a server."""
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])) if uri.startswith(_SQLITE) else None


def load_settings() -> Settings:
    """Read the environment, and a `.env` file in or above the working directory. The environment takes precedence.

    Raises ValueError, naming the variable, for a worker count or a size that is not a positive number.
    """
    load_dotenv(find_dotenv(usecwd=True))
    data = data_folder()
    workers = os.environ.get("LLM_ASSETS_WORKERS")
    if workers is not None and (not workers.isdigit() or int(workers) < 1):
        raise ValueError(f"LLM_ASSETS_WORKERS is {workers!r}; it must be a positive number")
    return Settings(
        store=os.environ.get("LLM_ASSETS_STORE") or str(data / "artifacts"),
        mlflow_uri=os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(data / "mlflow" / "mlflow.db"),
        mlflow_url=os.environ.get("LLM_ASSETS_MLFLOW_URL") or "http://localhost:5000",
        dagster_url=os.environ.get("LLM_ASSETS_DAGSTER_URL") or "http://localhost:3000",
        workers=int(workers) if workers else None,
        dagster_home=Path(os.environ.get("DAGSTER_HOME") or data / "dagster"),
        data=data,
        ray_address=os.environ.get("LLM_ASSETS_RAY_ADDRESS") or "",
        ray_task_bytes=gigabytes("LLM_ASSETS_RAY_TASK_GB"),
    )


def gigabytes(variable: str) -> int | None:
    """The bytes that a variable gives in GB; None if it is not set."""
    value = os.environ.get(variable)
    if not value:
        return None
    with suppress(ValueError):
        if 0 < (size := float(value)) < math.inf:
            return int(size * 1e9)
    raise ValueError(f"{variable} is {value!r}; it must be a positive number of gigabytes")
