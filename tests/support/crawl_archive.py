"""A small snapshot in the layout of Common Crawl: WARC files, their columnar index, and the lists of both."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from warcio.archiveiterator import ArchiveIterator

from .warcs import members, page

SNAPSHOT = "CC-MAIN-2026-43"
SCHEMA = pa.schema(
    {
        "url_surtkey": pa.string(),
        "url": pa.string(),
        "url_host_name": pa.string(),
        "url_host_tld": pa.string(),
        "url_host_registered_domain": pa.string(),
        "url_path": pa.string(),
        "fetch_time": pa.timestamp("ms", tz="UTC"),
        "fetch_status": pa.int16(),
        "content_digest": pa.string(),
        "content_mime_type": pa.string(),
        "content_mime_detected": pa.string(),
        "content_languages": pa.string(),
        "warc_filename": pa.string(),
        "warc_record_offset": pa.int32(),
        "warc_record_length": pa.int32(),
        "warc_segment": pa.string(),
    }
)
# Hosts of the pages, with the language of each; the other hosts of the archive are filler.
LANGUAGES = {"example.org": "eng", "www.example.org": "eng,deu", "blog.example.org": "deu", "other.example": "eng"}
PAGES_PER_HOST = 6
FILLER_HOSTS = 4_000
ROW_GROUP_ROWS = 500
INDEX_FILES = 3


def index_file(number: int, subset: str = "warc") -> str:
    """The path of one file of the index."""
    folder = f"cc-index/table/cc-main/warc/crawl={SNAPSHOT}/subset={subset}"
    return f"{folder}/part-{number:05}-6f1b3c1e.c000.gz.parquet"


def warc_path(number: int) -> str:
    """The path of one WARC file."""
    return f"crawl-data/{SNAPSHOT}/segments/17/warc/{SNAPSHOT}-{number:05}.warc.gz"


def page_urls(host: str) -> list[str]:
    """The URLs of a host's pages."""
    return [f"https://{host}/{'docs' if number % 2 else 'news'}/{number}" for number in range(PAGES_PER_HOST)]


def rows_of(path: str, data: bytes) -> list[dict[str, Any]]:
    """The rows of the index for one WARC file, as warcio reads it."""
    rows = []
    iterator = ArchiveIterator(io.BytesIO(data))
    for record in iterator:
        url, offset = record.rec_headers["WARC-Target-URI"], iterator.get_record_offset()
        payload = record.raw_stream.read()
        host = urlsplit(url).hostname
        rows.append(
            index_row(
                url,
                fetch_time=datetime.fromisoformat(record.rec_headers["WARC-Date"]),
                fetch_status=int(record.http_headers.get_statuscode()),
                content_digest=record.rec_headers["WARC-Payload-Digest"].removeprefix("sha1:"),
                content_mime_type=record.http_headers["Content-Type"],
                content_mime_detected="text/html" if b"<p>" in payload else "text/plain",
                content_languages=LANGUAGES.get(host),
                warc_filename=path,
                warc_record_offset=offset,
                warc_record_length=iterator.get_record_length(),
                warc_segment="17",
            )
        )
    return rows


def index_row(url: str, **columns: Any) -> dict[str, Any]:
    """A row of the index with the columns that follow from its URL."""
    parts = urlsplit(url)
    labels = parts.hostname.removeprefix("www.").split(".")
    return {
        "url_surtkey": f"{','.join(reversed(labels))}){parts.path.lower()}",
        "url": url,
        "url_host_name": parts.hostname,
        "url_host_tld": labels[-1],
        "url_host_registered_domain": ".".join(labels[-2:]),
        "url_path": parts.path,
        **columns,
    }


def _filler_rows() -> list[dict[str, Any]]:
    """Captures of many other hosts, whose records nobody asks for."""
    rng = random.Random(7)
    return [
        index_row(
            f"https://site{number:05}.{rng.choice(('com', 'example', 'org'))}/{rng.randbytes(300).hex()}",
            fetch_time=datetime(2026, 10, 6, tzinfo=UTC),
            fetch_status=200,
            content_digest=hashlib.sha256(rng.randbytes(8)).hexdigest()[:32].upper(),
            content_mime_type="text/html",
            content_mime_detected="text/html",
            content_languages=rng.choice(("fra", "spa", "zho")),
            warc_filename=warc_path(rng.randrange(90_000)),
            warc_record_offset=rng.randrange(1 << 30),
            warc_record_length=rng.randrange(500, 50_000),
            warc_segment="17",
        )
        for number in range(FILLER_HOSTS)
    ]


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), buffer, row_group_size=ROW_GROUP_ROWS, compression="gzip")
    return buffer.getvalue()


def index_of(rows: Iterable[dict[str, Any]]) -> dict[str, bytes]:
    """The index of these captures, sorted by key over all its files, with the list of the files."""
    rows = sorted(rows, key=lambda row: row["url_surtkey"])
    size = -(-len(rows) // INDEX_FILES)
    files = {f"/{index_file(number)}": _parquet(rows[number * size :][:size]) for number in range(INDEX_FILES)}
    subsets = ("crawldiagnostics", "robotstxt", "warc")
    listing = "".join(f"{index_file(number, subset)}\n" for subset in subsets for number in range(INDEX_FILES))
    return files | {f"/crawl-data/{SNAPSHOT}/cc-index-table.paths.gz": gzip.compress(listing.encode())}


@cache
def _archive() -> tuple[dict[str, bytes], tuple[dict[str, Any], ...], dict[str, bytes]]:
    rng = random.Random(3)
    files, rows, records = {}, [], {}
    for number in range(2):
        pages = []
        for host in LANGUAGES:
            for url in page_urls(host)[number::2]:
                text = rng.randbytes(300).hex().encode()
                body = b"<p>" + text if url.endswith(("0", "1", "2")) else text
                # Beside each page lies a page of another host that is larger than a gap within one request.
                pages += [page(url, body), page(f"https://filler.example/{url}", rng.randbytes(140_000))]
        data = members(pages, date=f"2026-10-0{5 + number}T06:00:00Z")
        records.update(zip([url for url, *_ in pages], data, strict=True))
        files[f"/{warc_path(number)}"] = b"".join(data)
        rows += rows_of(warc_path(number), files[f"/{warc_path(number)}"])
    return files | index_of([*rows, *_filler_rows()]), tuple(rows), records


def archive_files() -> dict[str, bytes]:
    """All files of the snapshot, by path of the URL."""
    return dict(_archive()[0])


def archive_rows() -> list[dict[str, Any]]:
    """The index's rows of the records in the WARC files."""
    return [dict(row) for row in _archive()[1]]


def archive_records() -> dict[str, bytes]:
    """Each record as it is in its WARC file, by URL."""
    return _archive()[2]
