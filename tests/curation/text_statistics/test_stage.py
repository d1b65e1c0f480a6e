"""The table of statistics: each family's columns, in the families' order."""

from llm_assets.artifacts.tables import polars_schema
from llm_assets.curation.text_statistics.stage import FAMILIES, STATISTICS, TextStatistic


def test_the_table_has_the_columns_of_all_families_in_order():
    assert [column for family in FAMILIES for column in polars_schema(family)] == list(STATISTICS)
    columns = ["doc_id", "warc_offset", *STATISTICS, "quality_score", "edited_text"]
    assert list(polars_schema(TextStatistic)) == columns
