"""Checks of a corpus: each fails on a corpus that violates it, and reports pages, never the personal data on them."""

import hashlib
import statistics
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.artifacts.sampling import Sample
from llm_assets.artifacts.tables import polars_schema
from llm_assets.curation import corpus_checks, deduplication
from llm_assets.curation.corpus_checks import (
    LanguageBounds,
    LengthBounds,
    length_within,
    median_of,
    pages_with_personal_data,
    personal_data_left,
    target_language,
)
from llm_assets.curation.corpus_report import not_empty
from llm_assets.curation.deduplication import DUPLICATE_SHARE, DuplicateBounds, duplicates_within
from llm_assets.curation.schemas import CleanCorpus, RejectsByRule
from llm_assets.recipes import Language, PersonalData, Report, laptop

ENGLISH = "The harbour was quiet that morning, and nobody had thought of the letter that came. "
GERMAN = "Am Morgen lag noch Nebel über dem Fluss, und die Straßen waren fast leer. "


class Corpus:
    """The parts of an artifact that a check reads."""

    def __init__(self, path, tables, stats=None):
        self.paths = {}
        for name, frame in tables.items():
            frame.write_parquet(path / f"{name}.parquet")
            self.paths[name] = [path / f"{name}.parquet"]
        self.record = type("Record", (), {"stats": stats or {}})()

    def table(self, name):
        return self.paths.get(name, [])


@pytest.fixture
def corpus(tmp_path):
    """A function from texts and stats to a clean corpus of these texts."""

    def build(*texts, **stats):
        columns = {
            "url": [f"http://host.example/{i}" for i in range(len(texts))],
            "title": ["A title"] * len(texts),
            "text": texts,
        }
        frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
        schema = polars_schema(CleanCorpus)
        missing = {name: pl.lit(None, dtype=dtype) for name, dtype in schema.items() if name not in columns}
        return Corpus(tmp_path, {"text": frame.with_columns(**missing).select(list(schema))}, stats)

    return build


def test_remaining_personal_data_is_found_and_not_shown(corpus):
    assert personal_data_left(corpus(ENGLISH), {}, PersonalData()).passed
    outcome = personal_data_left(corpus(ENGLISH, "Write to someone@secretmail.example."), {}, PersonalData())
    assert outcome.numbers == {"kinds_left": 1}
    assert not outcome.passed and outcome.failures == [{"kind": "email", "url": "http://host.example/1"}]
    assert "secretmail" not in outcome.summary


def test_too_many_texts_in_other_languages_fail(corpus):
    bounds = LanguageBounds(language=Language(), min_share=0.99)
    assert target_language(corpus(ENGLISH), {}, bounds).passed
    outcome = target_language(corpus(ENGLISH, GERMAN), {}, bounds)
    assert not outcome.passed and outcome.numbers == {"share": 0.5, "pages": 2}
    assert [(row["url"], row["language_1"]) for row in outcome.failures] == [("http://host.example/1", "de")]
    assert target_language(corpus(ENGLISH, GERMAN), {}, bounds.replace(min_share=0.5)).passed
    assert target_language(corpus(), {}, bounds).passed


def test_a_median_length_out_of_bounds_fails(corpus):
    bounds = LengthBounds(median_characters=Report().median_characters)
    outcome = length_within(corpus(ENGLISH * 10), {}, bounds)
    assert outcome.passed and outcome.numbers == {"median": len(ENGLISH * 10)}
    assert not length_within(corpus("short", "shorter", ENGLISH * 10), {}, bounds).passed
    assert not length_within(corpus(ENGLISH * 10), {}, LengthBounds(median_characters=(1, 100))).passed
    assert length_within(corpus(), {}, bounds).summary == "no pages"


@given(st.lists(st.integers(0, 50), min_size=1))
def test_the_median_of_counts_is_that_of_the_values(lengths):
    assert median_of(Counter(lengths)) == statistics.median(lengths)


def test_in_a_large_corpus_checks_examine_a_sample(corpus, monkeypatch):
    """Every page is faulty, and a third of them is examined."""
    pages = corpus(*[f"Write to person{number}@secretmail.example. {GERMAN}" for number in range(300)])
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:24] for number in range(300)]
    path = pages.table("text")[0]
    pl.read_parquet(path).with_columns(doc_id=pl.Series(ids)).write_parquet(path)
    monkeypatch.setattr(corpus_checks.Sample, "of", classmethod(lambda cls, rows: Sample(16**8 // 3)))
    urls, examined = pages_with_personal_data(pages, PersonalData(), Sample.of(300))
    assert len(urls["email"]) == 20 and 60 < examined < 140
    assert not personal_data_left(pages, {}, PersonalData()).passed
    outcome = target_language(pages, {}, LanguageBounds(language=Language(targets=("de",)), min_share=0.9))
    assert outcome.passed and outcome.numbers["pages"] == examined and "a sample of 300: ± " in outcome.summary
    clean = personal_data_left(pages, {}, PersonalData(types=()))
    assert clean.passed and clean.summary.startswith(f"no personal data found in a sample of {examined} of 300 pages")


def test_of_very_many_texts_a_share_is_compared(corpus, monkeypatch):
    """Equal texts have one digest, so both are compared or neither."""
    twice = [f"{ENGLISH} {number}" for number in range(60)]
    pages = corpus(*twice, *twice, pages=120, rejected=0)
    bounds = DuplicateBounds(max_share=0.5)
    assert duplicates_within(pages, {}, bounds).numbers["kept_twice"] == 120
    monkeypatch.setattr(deduplication, "DIGESTS", 60)
    outcome = duplicates_within(pages, {}, bounds)
    assert not outcome.passed and 30 < outcome.numbers["kept_twice"] < 90 and outcome.numbers["kept_twice"] % 2 == 0
    assert outcome.summary.endswith("; 50.00% of the texts were compared, so as many of the repeated texts are found")
    once = duplicates_within(corpus(*twice, pages=60, rejected=0), {}, bounds)
    assert once.passed and "were compared" not in once.summary
    monkeypatch.setattr(deduplication, "DIGESTS", 30)
    # Of 4 repeated texts, none is compared with a probability of 1/16; of 5, with 1/32, less than 5 %.
    once = duplicates_within(corpus(*twice, pages=60, rejected=0), {}, bounds)
    assert once.passed and once.summary.endswith("compared: at most 4 texts are on several pages (95 %)")


def test_remaining_or_too_many_duplicates_fail(corpus):
    assert DUPLICATE_SHARE.config is not None
    bounds = DUPLICATE_SHARE.config(laptop(), "c")
    assert bounds == DuplicateBounds(max_share=0.5)
    assert duplicates_within(corpus(ENGLISH, GERMAN, pages=3, rejected=1), {}, bounds).passed
    outcome = duplicates_within(corpus(ENGLISH, GERMAN, ENGLISH.upper(), pages=3, rejected=0), {}, bounds)
    assert outcome.numbers == {"share": 0.0, "kept_twice": 2}
    assert not outcome.passed and [row["url"] for row in outcome.failures] == [
        "http://host.example/0",
        "http://host.example/2",
    ]
    outcome = duplicates_within(corpus(ENGLISH, pages=3, rejected=2), {}, bounds)
    assert not outcome.passed and outcome.summary.startswith("66.67% of 3 pages were duplicates (at most 50%)")


def test_an_empty_corpus_lists_the_rules_that_rejected_most(tmp_path):
    rejects = pl.DataFrame(
        [
            {"crawl": "c", "stage": "quality_filtered_text", "rule": "min_words", "pages": 7},
            {"crawl": "c", "stage": "filtered_urls", "rule": "mime", "pages": 9},
        ],
        schema=polars_schema(RejectsByRule),
    )
    outcome = not_empty(Corpus(tmp_path, {"rejects_by_rule": rejects}, {"pages": 0}), {}, None)
    assert not outcome.passed and [row["rule"] for row in outcome.failures] == ["mime", "min_words"]
    assert not_empty(Corpus(tmp_path, {"rejects_by_rule": rejects}, {"pages": 1}), {}, None).passed
