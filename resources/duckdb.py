"""What DuckDB may use."""

import dagster as dg

from llm_assets.sql import DuckDbSettings


class DuckDb(dg.ConfigurableResource):
    """The settings of every connection of a run, those of its worker processes too. They change no result.

    memory: such as ``4GB``. threads: of one statement; 0 is one a core. temporary_folder: for what does not fit into
    memory. What is left empty is as LLM_ASSETS_DUCKDB_MEMORY, _THREADS and _TEMPORARY say.
    """

    memory: str = ""
    threads: int = 0
    temporary_folder: str = ""

    def apply(self) -> None:
        usual = DuckDbSettings.from_environment()
        DuckDbSettings(
            self.memory or usual.memory,
            self.threads or usual.threads,
            self.temporary_folder or usual.temporary_folder,
        ).to_environment()
