"""One text's statistics by column, for the tests of each family."""

from __future__ import annotations

import polars as pl

from llm_assets.curation.text_statistics.stage import STATISTICS, compute_statistics
from llm_assets.recipes import TextStatistics


def measure(text: str, **definition: object) -> dict[str, float]:
    """Every statistic of a text, under the recipe's definitions or others."""
    numbers, _ = compute_statistics(pl.Series([text]), TextStatistics(**definition))
    return dict(zip(STATISTICS, numbers[0].tolist(), strict=True))
