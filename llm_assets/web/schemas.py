"""Tables of the web room."""

import pandera.polars as pa
import polars as pl


class Captures(pa.DataFrameModel):
    """The capture index: one row a response, revisit or resource record, and one a corrupt stretch of a WARC file.

    record_type is response, revisit, resource or corrupt; taken_down where a takedown has removed the record's text (the
    other columns say what it was). warc_offset is where the record's gzip member (or the
    record, in an uncompressed file) begins; in a file that is one gzip member over all records it counts decompressed
    bytes. payload_digest is computed from the payload as stored, before content decoding; a revisit carries the digest its
    record declares. A revisit points to its original by refers_to_uri and refers_to_date, and, where the original
    is in the same crawl, by original_file and original_offset.
    """

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    crawl: str = pa.Field(str_length={"min_value": 1})
    warc_file: str = pa.Field(str_length={"min_value": 1})
    warc_offset: pl.Int64 = pa.Field(ge=0)
    warc_length: pl.Int64 = pa.Field(ge=0)
    record_type: str = pa.Field(isin=["response", "revisit", "resource", "corrupt", "taken_down"])
    url: str
    host: str
    registered_domain: str
    fetched_at: str = pa.Field(description="WARC-Date as recorded (ISO 8601, UTC); empty where missing")
    status: pl.Int16 = pa.Field(nullable=True, ge=0, le=999)
    mime: str = pa.Field(nullable=True)
    charset: str = pa.Field(nullable=True)
    payload_bytes: pl.Int64 = pa.Field(ge=0)
    payload_digest: str
    etag: str = pa.Field(nullable=True)
    last_modified: str = pa.Field(nullable=True)
    location: str = pa.Field(nullable=True)
    truncated: str = pa.Field(nullable=True)
    refers_to_uri: str = pa.Field(nullable=True)
    refers_to_date: str = pa.Field(nullable=True)
    error: str = pa.Field(nullable=True)


class Revisits(pa.DataFrameModel):
    """Where the original of each revisit lies: the crawl, file and offset of the response with the same URL and digest.

    The three are null where the original is neither in this crawl nor in an earlier one that this crawl continues.
    """

    warc_file: str
    warc_offset: pl.Int64
    url: str
    payload_digest: str
    original_crawl: str = pa.Field(nullable=True)
    original_file: str = pa.Field(nullable=True)
    original_offset: pl.Int64 = pa.Field(nullable=True)


class CrawlFailures(pa.DataFrameModel):
    """URLs that the crawler met and did not store, with the reason."""

    url: str
    host: str
    reason: str = pa.Field(
        isin=[
            "robots",
            "private_address",
            "host_limit",
            "page_limit",
            "too_large",
            "timeout",
            "dns",
            "connection",
            "not_http",
            "unexpected_304",
            "opted_out",
            "other",
        ]
    )
    detail: str


class BlocklistDomains(pa.DataFrameModel):
    """Domains (each stands for all its subdomains) by the list they come from."""

    domain: str = pa.Field(str_length={"min_value": 1})
    category: str
    source: str


class BlocklistWords(pa.DataFrameModel):
    """Words of the URL rules; kind is hard_words, soft_words or substrings."""

    word: str = pa.Field(str_length={"min_value": 1})
    kind: str = pa.Field(isin=["hard_words", "soft_words", "substrings"])
    category: str
    source: str


class OptOut(pa.DataFrameModel):
    """What site owners asked to leave out: a domain, or a URL prefix; `host` is the host the rule belongs to."""

    rule: str = pa.Field(str_length={"min_value": 1})
    kind: str = pa.Field(isin=["domain", "prefix"])
    host: str


class MalformedLines(pa.DataFrameModel):
    """Blocklist lines that could not be read, so that nothing is dropped in silence."""

    source: str
    line: pl.Int64 = pa.Field(ge=1)
    text: str
    problem: str
