"""Tables of the curation room."""

import pandera.polars as pa
import polars as pl


class Document(pa.DataFrameModel):
    """The columns that lead any text or reject back to its page."""

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    url: str
    host: str
    crawl: str = pa.Field(str_length={"min_value": 1})
    warc_file: str = pa.Field(str_length={"min_value": 1})
    warc_offset: pl.Int64 = pa.Field(ge=0)
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


class Rejects(Document):
    """Pages that left the funnel: which stage and rule, the measured value, the threshold it was held against."""

    stage: str = pa.Field(str_length={"min_value": 1})
    rule: str = pa.Field(str_length={"min_value": 1})
    value: str
    threshold: str
