"""The resource for the artifact store."""

import dagster as dg

from llm_assets.artifacts import Store, open_store
from llm_assets.settings import load_settings


class ArtifactStore(dg.ConfigurableResource):
    """The artifact store.

    url: a folder, or a URL of object storage; empty for LLM_ASSETS_STORE, or else the folder ``artifacts`` in the data
        folder.
    """

    url: str = ""

    def open(self) -> Store:
        settings = load_settings()
        return open_store(self.url or settings.store, settings.data / "cache")
