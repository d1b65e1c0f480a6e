"""Tables of the curation room."""

import pandera.polars as pa
import polars as pl


class Place(pa.DataFrameModel):
    """Which page, and where it lies."""

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    host: str
    crawl: str = pa.Field(str_length={"min_value": 1})
    warc_file: str = pa.Field(str_length={"min_value": 1})
    warc_offset: pl.Int64 = pa.Field(ge=0)


class Document(Place):
    """The columns that lead any text or reject back to its page."""

    fetched_at: str


class FilteredUrls(Document):
    """Captures that are worth reading."""

    warc_length: pl.Int64 = pa.Field(ge=0)
    registered_domain: str
    record_type: str = pa.Field(isin=["response", "resource"])
    mime: str = pa.Field(nullable=True)
    charset: str = pa.Field(nullable=True)
    payload_bytes: pl.Int64 = pa.Field(ge=0)


class ExtractedText(Document):
    """Main text of each page; `encoding` is the one its bytes were read in, `html_bytes` their number."""

    title: str
    text: str = pa.Field(str_length={"min_value": 1})
    encoding: str = pa.Field(str_length={"min_value": 1})
    html_bytes: pl.Int64 = pa.Field(ge=0)


class LanguageFilteredText(ExtractedText):
    """Pages in a target language. `language` is the target and `language_score` its P; the top three are kept beside."""

    language: str = pa.Field(str_length={"min_value": 2})
    language_score: float = pa.Field(ge=0, le=1)
    language_1: str = pa.Field(nullable=True)
    score_1: float = pa.Field(nullable=True, ge=0, le=1)
    language_2: str = pa.Field(nullable=True)
    score_2: float = pa.Field(nullable=True, ge=0, le=1)
    language_3: str = pa.Field(nullable=True)
    score_3: float = pa.Field(nullable=True, ge=0, le=1)


class ClassifierWeights(pa.DataFrameModel):
    """Weights of the learned quality score that are not 0, by hashed feature; feature -1 is the bias."""

    feature: pl.Int64 = pa.Field(ge=-1, unique=True)
    weight: float
    buckets: pl.Int64 = pa.Field(ge=1)


class TextStatistic(pa.DataFrameModel):
    """What the quality rules look at, one row a page of `language_filtered_text`, in its order.

    Ratios are parts of the text's characters, words or lines. Columns from `lorem_ipsum` on follow C4's edit of the text;
    those from `terminal_line_ratio` on are of the edited text.
    """

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    warc_offset: pl.Int64 = pa.Field(ge=0)
    characters: float = pa.Field(ge=0)
    words: float = pa.Field(ge=0)
    non_symbol_words: float = pa.Field(ge=0)
    mean_word_length: float = pa.Field(ge=0)
    hash_ratio: float = pa.Field(ge=0)
    ellipsis_ratio: float = pa.Field(ge=0)
    alpha_word_ratio: float = pa.Field(ge=0, le=1)
    stop_words: float = pa.Field(ge=0)
    bullet_line_ratio: float = pa.Field(ge=0, le=1)
    ellipsis_line_ratio: float = pa.Field(ge=0, le=1)
    duplicate_line_ratio: float = pa.Field(ge=0, le=1)
    duplicate_paragraph_ratio: float = pa.Field(ge=0, le=1)
    duplicate_line_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_paragraph_character_ratio: float = pa.Field(ge=0, le=1)
    top_2_gram_character_ratio: float = pa.Field(ge=0)
    top_3_gram_character_ratio: float = pa.Field(ge=0)
    top_4_gram_character_ratio: float = pa.Field(ge=0)
    duplicate_5_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_6_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_7_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_8_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_9_gram_character_ratio: float = pa.Field(ge=0, le=1)
    duplicate_10_gram_character_ratio: float = pa.Field(ge=0, le=1)
    lorem_ipsum: float = pa.Field(isin=[0.0, 1.0])
    curly_bracket: float = pa.Field(isin=[0.0, 1.0])
    sentences: float = pa.Field(ge=0)
    removed_lines: float = pa.Field(ge=0)
    terminal_line_ratio: float = pa.Field(ge=0, le=1)
    short_line_ratio: float = pa.Field(ge=0, le=1)
    edited_duplicate_line_character_ratio: float = pa.Field(ge=0, le=1)
    newline_ratio: float = pa.Field(ge=0)
    edited_characters: float = pa.Field(ge=0)
    quality_score: float = pa.Field(nullable=True, ge=0, le=1)
    edited_text: str = pa.Field(nullable=True)


# The columns that compiled code fills, in its order.
STATISTICS = tuple(
    column
    for column in TextStatistic.to_schema().columns
    if column not in ("doc_id", "warc_offset", "quality_score", "edited_text")
)


class QualityFilteredText(LanguageFilteredText):
    """Pages that pass the quality rules; `text` without the lines that C4's rules remove."""

    words: pl.Int64 = pa.Field(ge=0)
    quality_score: float = pa.Field(nullable=True, ge=0, le=1)


class Signature(pa.DataFrameModel):
    """The duplicate index: what later pages are compared with, one row a page, in file order.

    `exact` is the digest of the normalised text; `bands` one hash for each band of the MinHash signature (none where the
    text has too few words for a shingle).
    """

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    crawl: str
    warc_file: str
    warc_offset: pl.Int64 = pa.Field(ge=0)
    exact: pl.UInt64
    bands: pl.List(pl.UInt64)


class Cluster(pa.DataFrameModel):
    """Pages of each cluster of two or more duplicates; `cluster` is the `doc_id` of the one that is kept."""

    cluster: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    size: pl.Int64 = pa.Field(ge=2)
    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    crawl: str
    warc_file: str
    warc_offset: pl.Int64 = pa.Field(ge=0)
    kept: bool
    relation: str = pa.Field(isin=["kept", "exact", "near"])
    shared_bands: pl.Int64 = pa.Field(ge=0)


class CleanCorpus(QualityFilteredText):
    """What the model may see. `title` and `text` are scrubbed; the last columns count the placeholders in `text`, by type."""

    email: pl.Int64 = pa.Field(ge=0)
    ip_address: pl.Int64 = pa.Field(ge=0)
    ssn: pl.Int64 = pa.Field(ge=0)
    credit_card: pl.Int64 = pa.Field(ge=0)
    phone: pl.Int64 = pa.Field(ge=0)
    iban: pl.Int64 = pa.Field(ge=0)


class Rejects(Document):
    """Pages that left the funnel: which stage and rule, the measured value, the threshold it was held against."""

    stage: str = pa.Field(str_length={"min_value": 1})
    rule: str = pa.Field(str_length={"min_value": 1})
    value: str
    threshold: str


class Funnel(pa.DataFrameModel):
    """Pages that came out of each stage of a crawl, those it rejected, and the bytes that came out."""

    crawl: str
    stage: str
    pages: pl.Int64 = pa.Field(ge=0)
    rejected: pl.Int64 = pa.Field(ge=0)
    bytes: pl.Int64 = pa.Field(ge=0)


class RejectsByRule(pa.DataFrameModel):
    """Rejected pages by crawl, stage and rule."""

    crawl: str
    stage: str
    rule: str
    pages: pl.Int64 = pa.Field(ge=1)


class TruthScores(pa.DataFrameModel):
    """Measures of the stages against a ground truth."""

    crawl: str
    measure: str
    value: float


class PageVersions(Place):
    """One row a version of a page: a text at a URL (a payload, where a page has no text), however often it was captured.

    crawl, warc_file, warc_offset: its first capture that the clean corpus holds; of none, its first. version: 1 for the page's first text, 2 for the next.
    first_seen, last_seen: times of its first and last capture, revisits among them. last_crawl: of the last capture.
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
    """A page that models learn from or find by search."""
