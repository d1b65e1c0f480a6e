"""A second code location: assets of your own, which read the artifacts of the first one. Replace them."""

import dagster as dg
import polars as pl

from llm_assets.artifacts.tables import read_table
from llm_assets.graph import open_workspace


@dg.asset(deps=["url_blocklists"], group_name="own", kinds={"polars"})
def blocked_domains() -> dg.MaterializeResult:
    """How many domains each category of the blocklists has."""
    lists = open_workspace().resolver().artifact("url_blocklists", None)
    counts = read_table(lists.table("domains")).group_by("category").agg(pl.len().alias("domains")).sort("category")
    numbers = {category: int(domains) for category, domains in counts.iter_rows()}
    return dg.MaterializeResult(metadata=numbers, data_version=dg.DataVersion(lists.data_version))


defs = dg.Definitions(assets=[blocked_domains])
