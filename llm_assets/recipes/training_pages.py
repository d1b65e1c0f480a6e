"""Which pages of a clean corpus models are trained on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from llm_assets.artifacts.tables import scan_table

from .frozen import Frozen


class TrainingPages(Frozen):
    """All pages except those of `search_only_hosts`, which only the search tool may find."""

    search_only_hosts: tuple[str, ...] = ()

    def is_kept(self) -> pl.Expr:
        """True for a page (by its column `host`) that may be trained on; a host stands for its subdomains too."""
        host = pl.col("host").str.to_lowercase()
        search_only = pl.lit(False)
        for name in self.search_only_hosts:
            search_only = search_only | (host == name.lower()) | host.str.ends_with(f".{name.lower()}")
        return ~search_only

    def scan(self, files: Iterable[Path], columns: Iterable[str] = ("text",)) -> pl.LazyFrame:
        """The pages of text tables that may be trained on, in the order of `files`."""
        selected = list(columns)
        frames = [scan_table(path).filter(self.is_kept()).select(selected) for path in files]
        return pl.concat(frames)
