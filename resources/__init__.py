"""The Dagster side of the project: resources, assets and checks made from the stages, jobs, schedules and sensors."""

from .assets import make_assets
from .compute import Compute
from .duckdb import DuckDb
from .recipe import ChosenRecipe
from .store import ArtifactStore
from .tracking import Tracking

__all__ = ["ArtifactStore", "ChosenRecipe", "Compute", "DuckDb", "Tracking", "make_assets"]
