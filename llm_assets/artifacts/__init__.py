"""Cached, versioned artifacts: identity, record, store, lineage. Independent of Dagster."""

from .artifact import Artifact
from .checks import Check, CheckOutcome
from .errors import (
    ArtifactError,
    CodeDiffers,
    CorruptArtifact,
    ExternalInputError,
    LeaseLost,
    LeftOut,
    NotBuilt,
    StoreUnreachable,
    StoreUnwritable,
    UnstableValue,
)
from .identity import EXECUTION_ONLY, Identity
from .inputs import Inputs
from .materialize import Outcome, Workspace, materialize
from .record import Record
from .remote import RemoteStore, open_store
from .stage import Graph, NoConfig, Retry, Stage
from .step import Step, Task
from .store import Store
from .views import View

__all__ = [
    "EXECUTION_ONLY",
    "Artifact",
    "ArtifactError",
    "Check",
    "CheckOutcome",
    "CodeDiffers",
    "CorruptArtifact",
    "ExternalInputError",
    "Graph",
    "Identity",
    "Inputs",
    "LeaseLost",
    "LeftOut",
    "NoConfig",
    "NotBuilt",
    "Outcome",
    "Record",
    "RemoteStore",
    "Retry",
    "Stage",
    "Step",
    "Store",
    "StoreUnreachable",
    "StoreUnwritable",
    "Task",
    "UnstableValue",
    "View",
    "Workspace",
    "materialize",
    "open_store",
]
