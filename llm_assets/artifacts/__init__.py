"""Cached, versioned artifacts: identity, record, store, lineage. Knows nothing of Dagster."""

from .errors import ArtifactError, BuilderBusy, CorruptArtifact, NotBuilt, StoreUnwritable, UnstableValue
from .identity import EXECUTION_ONLY, Identity
from .materialize import Outcome, Workspace, materialize
from .record import Record
from .remote import RemoteStore, open_store
from .stage import Graph, Stage
from .step import Part, Step
from .store import Artifact, Store

__all__ = [
    "EXECUTION_ONLY", "Artifact", "ArtifactError", "BuilderBusy", "CorruptArtifact", "Graph", "Identity", "NotBuilt",
    "Outcome", "Part", "Record", "RemoteStore", "Stage", "Step", "Store", "StoreUnwritable", "UnstableValue",
    "Workspace", "materialize", "open_store",
]  # fmt: skip
