"""``python -m llm_assets.curation.precompile``: compile the curation code once, where the package is installed.

It takes about half a minute, most of it for the text statistics, which the first crawl would otherwise spend.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from llm_assets.artifacts.tables import write_table
from llm_assets.recipes import Deduplication, Language, PersonalData, QualityClassifier, TextStatistics

from .duplicate_matching import match_pages
from .extraction import extract
from .language import identify, model_path
from .language_model import load_language_model
from .personal_data import scrub
from .quality_classifier import train
from .signature_index import SignatureIndex
from .signatures import Signatures, sign, signature_columns
from .text_statistics.stage import compute_statistics

TEXTS = ["A few words, said by john@example.org. And a second sentence, which isn't longer!", ""]


def precompile() -> None:
    """Call every compiled function once. Later calls have arguments of the same types, so they need no compiling."""
    texts = pl.Series(TEXTS)
    extract(f"<p>{TEXTS[0]}</p>".encode())
    identify(load_language_model(model_path(Language())), texts, Language())
    compute_statistics(texts, TextStatistics())
    rules = PersonalData()
    scrub(texts, rules.types, rules.placeholders, rules.phone_region)
    examples = pl.DataFrame({"text": TEXTS, "label": [0, 1]})
    train(examples, QualityClassifier())[0].score(texts)
    _match(texts)


def _match(texts: pl.Series) -> None:
    """Sign the texts and match their signatures."""
    rules = Signatures.of(Deduplication())
    with tempfile.TemporaryDirectory() as folder:
        signatures = Path(folder) / "signatures.parquet"
        write_table(signature_columns(*sign(texts, rules), rules.bands), signatures)
        index = SignatureIndex.of([], [signatures])
        match_pages(index, rules.bands, Deduplication().memory_bytes, Path(folder) / "scratch")


if __name__ == "__main__":
    precompile()
