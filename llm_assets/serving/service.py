"""What the routes of the server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_assets.settings import Settings, load_settings

from .checkpoints import Checkpoints
from .encodings import Encodings
from .limits import Limits
from .prompts import ServerTools
from .worker import Worker


@dataclass(frozen=True)
class Service:
    """What the routes need. tools: by name, those that the server can run. key, host: see `RequestChecks`.

    settings: where the data folder is, and where Dagster and MLflow are. recipe: name under which commands load the
    recipe of the workspace; None is that of the environment.
    """

    worker: Worker
    checkpoints: Checkpoints
    tools: ServerTools = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    key: str = ""
    host: str = "127.0.0.1"
    encodings: Encodings = field(default_factory=Encodings)
    settings: Settings = field(default_factory=load_settings)
    recipe: str | None = None
