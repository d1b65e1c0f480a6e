"""``python -m llm_assets.precompile``: compile what numba compiles once, where the package is installed.

It takes about half a minute, most of it for the text statistics, which the first crawl would otherwise spend.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from llm_assets.artifacts.tables import write_table
from llm_assets.recipes import Deduplication, Language, PersonalData, QualityClassifier, TextStatistics

from .curation.duplicate_matching import match_pages
from .curation.extraction import extract
from .curation.language import identify, model_path
from .curation.language_model import load_language_model
from .curation.personal_data import scrub
from .curation.quality_classifier import train
from .curation.signature_index import SignatureIndex
from .curation.signatures import Signatures, sign, signature_columns
from .curation.text_statistics.stage import compute_statistics

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
    _decode()


def _match(texts: pl.Series) -> None:
    """Sign the texts and match their signatures."""
    rules = Signatures.of(Deduplication())
    with tempfile.TemporaryDirectory() as folder:
        signatures = Path(folder) / "signatures.parquet"
        write_table(signature_columns(*sign(texts, rules), rules.bands), signatures)
        index = SignatureIndex.of([], [signatures])
        match_pages(index, rules.bands, Deduplication().memory_bytes, Path(folder) / "scratch")


def _decode() -> None:
    """Read a token with a model that is final."""
    import torch

    from .model.prefill import CachedModel
    from .model.shape import ModelShape
    from .model.transformer import Transformer

    model = CachedModel(Transformer(ModelShape.of_depth(1, 256, 8, width=32)), is_final=True)
    with torch.inference_mode():
        cache, lengths, _ = model.prefill([[0]])
        cache.reserve(2)
        model.next_logits(lengths, lengths[:, None], cache)


if __name__ == "__main__":
    precompile()
