"""Checks of a sample: which rows of large tables they examine, and what the sample shows of all rows.

A check that is complete takes as long as the stage, but in one process. Up to SAMPLED_ROWS rows it is complete; of
more, it examines those whose `doc_id` has the lowest last digits. These are digits of a SHA-256 digest, so the rows are
a random sample, and always the same one. (The tokenizer is trained on documents chosen by the first digits.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from .tables import batches, chosen_batches

SAMPLED_ROWS = 100_000
CONFIDENCE = 0.95
_DIGITS = 8  # hexadecimal digits at the end of a doc_id


@dataclass(frozen=True)
class Sample:
    """The rows of large tables that are examined: those with a lower number at the end of `doc_id` than `limit`.

    limit: None chooses every row.
    """

    limit: int | None

    @classmethod
    def of(cls, rows: int, wanted: int | None = None) -> Sample:
        """A sample of about `wanted` of `rows` rows (default: SAMPLED_ROWS), or all if there are no more."""
        wanted = SAMPLED_ROWS if wanted is None else wanted
        return cls(None if rows <= wanted else int(wanted / rows * 16**_DIGITS))

    def is_chosen(self) -> pl.Expr:
        """Whether a row, by its `doc_id`, is in the sample."""
        return pl.lit(True) if self.limit is None else pl.col("doc_id").str.tail(_DIGITS) < f"{self.limit:0{_DIGITS}x}"

    def frames(self, table: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
        """These columns of the chosen rows of a parquet file, in file order.

        Of row groups without a chosen row, only the column `doc_id` is read.
        """
        if self.limit is None:
            yield from batches(table, columns)
        else:
            yield from chosen_batches(table, columns, self.is_chosen(), ["doc_id"])


def largest_unseen_share(examined: int) -> float:
    """The greatest share of faulty rows of which a sample of this size shows none with a probability of 5 % or more.

    1 - 0.05^(1/n), about 3/n (the rule of three: Hanley and Lippman-Hand, JAMA 249, 1983).
    """
    return 1 - (1 - CONFIDENCE) ** (1 / examined) if examined else 1.0


def most_unseen(share: float) -> int:
    """The greatest number of faults of which none is in a sample of this share with a probability of 5 % or more.

    Each is in the sample with a probability of `share`, below 1, whether the others are or not: (1 - share)^n >= 0.05.
    """
    return math.floor(math.log(1 - CONFIDENCE) / math.log1p(-share))


def sampled_clause(examined: int, rows: int) -> str:
    """What a summary adds where no fault was found: nothing if all rows were, else the sample, its error."""
    if examined == rows:
        return ""
    share = largest_unseen_share(examined)
    return f" in a sample of {examined:,} of {rows:,} pages: at most {share:.2g} of all have any (95 %)"
