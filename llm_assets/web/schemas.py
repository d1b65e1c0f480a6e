"""Tables of the web package."""

import pandera.polars as pa
import polars as pl


class Captures(pa.DataFrameModel):
    """The capture index: one row for each response, revisit or resource record, and for each corrupt stretch of a file.

    record_type: response, revisit, resource or corrupt; taken_down after a takedown has removed the record's text (the
    other columns keep their values). warc_offset: where the record's gzip member begins, or the record in an
    uncompressed file; in a file that is one gzip member over all records, it counts decompressed bytes. A row of a file
    of texts is a resource, or corrupt if it cannot be read; the row's number is its offset. payload_digest: computed
    from the payload as stored, before content decoding; for a revisit, the digest that its record declares.
    refers_to_uri, refers_to_date: the original of a revisit; the table `revisits` locates it.
    """

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    crawl: str = pa.Field(str_length={"min_value": 1})
    warc_file: str = pa.Field(str_length={"min_value": 1})
    warc_offset: pl.Int64 = pa.Field(ge=0)
    warc_length: pl.Int64 = pa.Field(ge=0)
    record_type: str = pa.Field(isin=["response", "revisit", "resource", "corrupt", "taken_down"])
    url: str = pa.Field(description="without a fragment")
    host: str
    registered_domain: str
    fetched_at: str = pa.Field(description="WARC-Date as recorded (ISO 8601, UTC); empty if missing")
    status: pl.Int16 = pa.Field(nullable=True, ge=0, le=999)
    mime: str = pa.Field(nullable=True)
    charset: str = pa.Field(nullable=True)
    payload_bytes: pl.Int64 = pa.Field(ge=0)
    payload_digest: str
    declared_digest: str = pa.Field(
        nullable=True, description="the payload digest that the record states, as algorithm:base32; null if none"
    )
    etag: str = pa.Field(nullable=True)
    last_modified: str = pa.Field(nullable=True)
    location: str = pa.Field(nullable=True)
    truncated: str = pa.Field(nullable=True)
    refers_to_uri: str = pa.Field(nullable=True)
    refers_to_date: str = pa.Field(nullable=True)
    error: str = pa.Field(nullable=True)


class Revisits(pa.DataFrameModel):
    """The original of each revisit: crawl, file and offset of the response with the same URL and digest.

    Where the digests cannot be compared, URL and date decide (see `sql/resolve_revisits.sql`).

    The three are null if the original is neither in this crawl nor in one that it continues.
    """

    warc_file: str
    warc_offset: pl.Int64
    url: str
    payload_digest: str
    original_crawl: str = pa.Field(nullable=True)
    original_file: str = pa.Field(nullable=True)
    original_offset: pl.Int64 = pa.Field(nullable=True)


class OptOutSignals(pa.DataFrameModel):
    """What pages and their sites say about being used to train models: a row for each capture and signal.

    signal: noai and noimageai are directives; tdm_reservation is that of TDMRep, ai_train that of a Content-Signal or
    Content-Usage. source: the page's header or meta element, or a file of the site that the same crawl captured.
    opts_out: whether the value is a refusal.
    """

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    warc_file: str
    warc_offset: pl.Int64 = pa.Field(ge=0)
    signal: str = pa.Field(isin=["noai", "noimageai", "tdm_reservation", "ai_train"])
    source: str = pa.Field(isin=["header", "meta", "robots_txt", "tdmrep_json"])
    value: str
    opts_out: bool


class SitePolicies(pa.DataFrameModel):
    """The captured policies of sites, robots.txt and /.well-known/tdmrep.json, with status 200."""

    url: str
    host: str
    warc_file: str
    warc_offset: pl.Int64 = pa.Field(ge=0)
    fetched_at: str
    payload_digest: str
    text: str


class CrawlFailures(pa.DataFrameModel):
    """URLs that the crawler, or a search of Common Crawl's index, found and that were not stored, with the reason.

    robots: robots.txt forbids the URL, or cannot be read. out_of_scope: a redirect leads out of the scope. redirects:
    there are too many in a row. retry_after: the host asked for a longer pause than the crawl waits. not_a_sitemap: the
    answer is stored, but names no URL that could be read. Of a record that Common Crawl's index names: not_in_archive
    means that its WARC file, or that part of the file, does not exist; damaged that the bytes at its place are no whole
    record; digest_mismatch that its payload is another than the index says.
    """

    url: str
    host: str
    reason: str = pa.Field(
        isin=[
            "robots",
            "out_of_scope",
            "redirects",
            "retry_after",
            "not_a_sitemap",
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
            "not_in_archive",
            "damaged",
            "digest_mismatch",
            "other",
        ]
    )
    detail: str


class LocatedCaptures(pa.DataFrameModel):
    """The captures that a search of Common Crawl's index found, with what the index says about them.

    source_file, source_offset, source_length: where the record is in the archive. warc_file: the file of the crawl that
    the record was fetched into, unless it is in `crawl_failures`.
    """

    url: str = pa.Field(str_length={"min_value": 1})
    fetched_at: str = pa.Field(nullable=True)
    status: pl.Int16 = pa.Field(nullable=True)
    mime: str = pa.Field(nullable=True, description="media type as detected from the content")
    languages: str = pa.Field(nullable=True, description="ISO 639-3 codes, the main language first")
    payload_digest: str = pa.Field(nullable=True)
    source_file: str = pa.Field(str_length={"min_value": 1})
    source_offset: pl.Int64 = pa.Field(ge=0)
    source_length: pl.Int64 = pa.Field(ge=1)
    warc_file: str = pa.Field(str_length={"min_value": 1})


class BlocklistDomains(pa.DataFrameModel):
    """Blocked domains, each including its subdomains, with the list that they come from."""

    domain: str = pa.Field(str_length={"min_value": 1})
    category: str
    source: str


class BlocklistWords(pa.DataFrameModel):
    """Words of the URL rules."""

    word: str = pa.Field(str_length={"min_value": 1})
    kind: str = pa.Field(isin=["hard_words", "soft_words", "substrings"])
    category: str
    source: str


class OptOut(pa.DataFrameModel):
    """Domains and URL prefixes whose owners opted out. host: the host that the rule belongs to."""

    rule: str = pa.Field(str_length={"min_value": 1})
    kind: str = pa.Field(isin=["domain", "prefix"])
    host: str


class MalformedLines(pa.DataFrameModel):
    """Lines of blocklists that could not be read; they are recorded, so that nothing is dropped silently."""

    source: str
    line: pl.Int64 = pa.Field(ge=1)
    text: str
    problem: str
