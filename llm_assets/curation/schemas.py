"""Schemas of the curation tables."""

import pandera.polars as pa
import polars as pl


class Place(pa.DataFrameModel):
    """Which page it is, and where its capture is stored."""

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    host: str
    crawl: str = pa.Field(str_length={"min_value": 1})
    warc_file: str = pa.Field(str_length={"min_value": 1})
    warc_offset: pl.Int64 = pa.Field(ge=0)


class Document(Place):
    """The columns that lead a text or a reject back to its page."""

    fetched_at: str


class FilteredUrls(Document):
    """Captures that pass the URL filter."""

    warc_length: pl.Int64 = pa.Field(ge=0)
    registered_domain: str
    record_type: str = pa.Field(isin=["response", "resource"])
    mime: str = pa.Field(nullable=True)
    charset: str = pa.Field(nullable=True)
    payload_bytes: pl.Int64 = pa.Field(ge=0)


class ExtractedText(Document):
    """The main text of each page. `encoding` is the one in which its `html_bytes` bytes were decoded."""

    title: str
    text: str = pa.Field(str_length={"min_value": 1})
    encoding: str = pa.Field(str_length={"min_value": 1})
    html_bytes: pl.Int64 = pa.Field(ge=0)


class LanguageFilteredText(ExtractedText):
    """Pages in a target language.

    `language` is the most probable target and `language_score` its probability. The other columns are the three most
    probable languages, whether targets or not, and their probabilities.
    """

    language: str = pa.Field(str_length={"min_value": 2})
    language_score: float = pa.Field(ge=0, le=1)
    language_1: str = pa.Field(nullable=True)
    score_1: float = pa.Field(nullable=True, ge=0, le=1)
    language_2: str = pa.Field(nullable=True)
    score_2: float = pa.Field(nullable=True, ge=0, le=1)
    language_3: str = pa.Field(nullable=True)
    score_3: float = pa.Field(nullable=True, ge=0, le=1)


class ClassifierWeights(pa.DataFrameModel):
    """Weights of the learned quality score other than 0, by hashed feature. Feature -1 is the bias."""

    feature: pl.Int64 = pa.Field(ge=-1, unique=True)
    weight: float
    buckets: pl.Int64 = pa.Field(ge=1)


class QualityFilteredText(LanguageFilteredText):
    """Pages that pass the quality rules. `text` is without the lines that C4's rules remove."""

    words: pl.Int64 = pa.Field(ge=0)
    quality_score: float = pa.Field(nullable=True, ge=0, le=1)


class Signature(pa.DataFrameModel):
    """The duplicate index that later pages are compared with: one row per page, in file order.

    `digest` is that of the text, whatever its case and white space. `bands` holds one hash for each band of the MinHash
    signature of the normalised text; it is empty if the text has too few words for a shingle.
    """

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    crawl: str
    warc_file: str
    warc_offset: pl.Int64 = pa.Field(ge=0)
    digest: pl.UInt64
    bands: pl.List(pl.UInt64)


class Cluster(pa.DataFrameModel):
    """The pages of each cluster of two or more duplicates, one row per page.

    `cluster` is the `doc_id` of the kept page, and `relation` how a page relates to it: `exact` if their texts
    are equal but for case and white space, else `near`. `shared_bands` counts the MinHash bands that the two have in
    common.
    """

    cluster: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    size: pl.Int64 = pa.Field(ge=2)
    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    crawl: str
    warc_file: str
    warc_offset: pl.Int64 = pa.Field(ge=0)
    is_kept: bool
    relation: str = pa.Field(isin=["kept", "exact", "near"])
    shared_bands: pl.Int64 = pa.Field(ge=0)


class CleanCorpus(QualityFilteredText):
    """The text that models may see.

    `title` and `text` have placeholders for personal data; the last columns count those in `text`, by type.
    """

    email: pl.Int64 = pa.Field(ge=0)
    ip_address: pl.Int64 = pa.Field(ge=0)
    ssn: pl.Int64 = pa.Field(ge=0)
    credit_card: pl.Int64 = pa.Field(ge=0)
    phone: pl.Int64 = pa.Field(ge=0)
    iban: pl.Int64 = pa.Field(ge=0)


class Rejects(Document):
    """Rejected pages: which stage and rule rejected each, the measured value, and the threshold."""

    stage: str = pa.Field(str_length={"min_value": 1})
    rule: str = pa.Field(str_length={"min_value": 1})
    value: str
    threshold: str


class Funnel(pa.DataFrameModel):
    """How many pages each stage of a crawl kept and rejected, and the bytes of those it kept."""

    crawl: str
    stage: str
    pages: pl.Int64 = pa.Field(ge=0)
    rejected: pl.Int64 = pa.Field(ge=0)
    bytes: pl.Int64 = pa.Field(ge=0)


class RejectsByRule(pa.DataFrameModel):
    """How many pages each rule rejected, by crawl and stage."""

    crawl: str
    stage: str
    rule: str
    pages: pl.Int64 = pa.Field(ge=1)


class TruthScores(pa.DataFrameModel):
    """Measures of the stages, compared with the ground truth of the sample web."""

    crawl: str
    measure: str
    value: float


class PageVersions(Place):
    """One row per version of a page: a text at a URL (a payload, for a page without text), however often captured.

    crawl, warc_file, warc_offset: the version's first capture that the clean corpus holds, or its first capture.
    version: 1 for the page's first text, 2 for the next.
    first_seen, last_seen: times of its first and last capture, revisits included. last_crawl: the crawl of the last.
    state: current; superseded by a later text; vanished (404, 410 or 451 since); moved (301 or 308 since); taken_down.
    ended_by: the crawl that found it no longer current. in_corpus: whether the clean corpus holds it.
    """

    version: pl.Int64 = pa.Field(ge=1)
    state: str = pa.Field(isin=["current", "superseded", "vanished", "moved", "taken_down"])
    first_seen: str
    last_seen: str
    last_crawl: str
    captures: pl.Int64 = pa.Field(ge=1)
    ended_by: str = pa.Field(nullable=True)
    moved_to: str = pa.Field(nullable=True)
    in_corpus: bool


class TrainingPage(Place):
    """A page that models are trained on or find by search."""
