"""The DuckDB statements, one file per question; read through `llm_assets.sql`."""
