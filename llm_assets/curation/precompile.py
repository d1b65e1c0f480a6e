"""``python -m llm_assets.curation.precompile``: compile what is compiled, once, where the package is installed.

Half a minute that the first crawl would spend otherwise, most of it on text statistics.
"""

from __future__ import annotations

import polars as pl

from llm_assets.recipes import Deduplication, PersonalData, TextStatistics

from .markup import read_blocks
from .personal_data import scrub
from .signatures import Signatures, sign
from .text_statistics import compute

TEXTS = ["A few words, said by john@example.org. And a second sentence, which isn't longer!", ""]


def precompile() -> None:
    """Call each compiled function with what it is called with later: arguments of the same types are the same code."""
    texts = pl.Series(TEXTS)
    read_blocks(f"<p>{TEXTS[0]}</p>")
    compute(texts, TextStatistics())
    sign(texts, Signatures.of(Deduplication()))
    rules = PersonalData()
    scrub(texts, rules.types, rules.placeholders, rules.phone_region)


if __name__ == "__main__":
    precompile()
