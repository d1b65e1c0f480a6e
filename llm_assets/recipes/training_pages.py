"""Which pages of a clean corpus a model may be trained on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from .frozen import Frozen


class TrainingPages(Frozen):
    """All pages but those of hosts that only the search tool may know."""

    search_only_hosts: tuple[str, ...] = ()

    def kept(self) -> pl.Expr:
        """True for a page (by its column `host`) that may be trained on; subdomains go with their domain."""
        host = pl.col("host").str.to_lowercase()
        held_out = pl.lit(False)
        for name in self.search_only_hosts:
            held_out = held_out | (host == name.lower()) | host.str.ends_with(f".{name.lower()}")
        return ~held_out

    def scan(self, files: Iterable[Path], columns: Iterable[str] = ("text",)) -> pl.LazyFrame:
        """The pages of a corpus' text tables that may be trained on, in the order of the files given."""
        wanted = list(columns)
        frames = [pl.scan_parquet(path).filter(self.kept()).select(wanted) for path in files]
        return pl.concat(frames)
