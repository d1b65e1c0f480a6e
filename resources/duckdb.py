"""The memory, threads and temporary folder that DuckDB may use."""

import dagster as dg

from llm_assets.sql import DuckDbSettings


class DuckDb(dg.ConfigurableResource):
    """Settings of every DuckDB connection of a run and its worker processes. They change no result.

    memory: a limit such as ``4GB``. threads: per statement; 0 is one per core. temporary_folder: for data that does not
    fit into memory. Empty fields take LLM_ASSETS_DUCKDB_MEMORY, _THREADS and _TEMPORARY.
    """

    memory: str = ""
    threads: int = 0
    temporary_folder: str = ""

    def apply(self) -> None:
        """Use these settings in this process and in the processes that it starts."""
        defaults = DuckDbSettings.from_environment()
        DuckDbSettings(
            self.memory or defaults.memory,
            self.threads or defaults.threads,
            self.temporary_folder or defaults.temporary_folder,
        ).to_environment()
