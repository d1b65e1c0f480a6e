"""What is compiled at installation is what runs later: other texts need no other code."""

import polars as pl

from llm_assets.curation import markup, personal_data, signatures, text_statistics
from llm_assets.curation.precompile import precompile
from llm_assets.recipes import Deduplication, PersonalData, TextStatistics

COMPILED = (markup._cut, text_statistics._statistics, signatures._sign, personal_data._windows)


def test_nothing_is_compiled_anew_after_precompile():
    precompile()
    before = [list(function.signatures) for function in COMPILED]
    assert all(before)
    texts, rules = (
        pl.Series([f"Page {number} — naïve, 日本語; call 555-0100.\n- a list\n" * number for number in range(4)]),
        PersonalData(),
    )
    markup.read_blocks("<html><body><pre>x</pre><p>é</p></body></html>")
    text_statistics.compute(texts, TextStatistics())
    signatures.sign(texts, signatures.Signatures.of(Deduplication()))
    personal_data.scrub(texts, rules.types, rules.placeholders, rules.phone_region)
    assert [list(function.signatures) for function in COMPILED] == before
