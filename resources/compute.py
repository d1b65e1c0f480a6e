"""How many worker processes the CPU-heavy steps use."""

import dagster as dg

from llm_assets.compute import LocalEngine
from llm_assets.settings import load_settings


class Compute(dg.ConfigurableResource):
    """Local worker processes; `workers` 0 means LLM_ASSETS_WORKERS, or one a core. Never bears identity."""

    workers: int = 0

    def engine(self) -> LocalEngine:
        return LocalEngine(self.workers or load_settings().workers)
