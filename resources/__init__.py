"""Dagster resources: the artifact store, compute, DuckDB, tracking."""
