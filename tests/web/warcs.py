"""WARC files written for tests, with warcio: an implementation independent of the reader under test."""

from __future__ import annotations

import io
import uuid
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

DATE = "2026-10-05T06:00:00Z"


def page(url: str, body: bytes = b"<p>text</p>", status: str = "200 OK", headers: list[tuple[str, str]] | None = None) -> tuple[str, bytes, str, list[tuple[str, str]]]:
    return url, body, status, headers if headers is not None else [("Content-Type", "text/html")]


def members(pages: list[tuple], gzip: bool = True, kind: str = "response") -> list[bytes]:
    """Each record's bytes, so that a test can damage one of them."""
    out = []
    for url, body, status, headers in pages:
        buffer = io.BytesIO()
        writer = WARCWriter(buffer, gzip=gzip, warc_version="1.1")
        http = StatusAndHeaders(status, headers, protocol="HTTP/1.1") if status else None
        writer.write_record(writer.create_warc_record(url, kind, io.BytesIO(body), http_headers=http, warc_headers_dict={"WARC-Date": DATE, "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>"}, warc_content_type=headers[0][1] if kind == "resource" else ""))
        out.append(buffer.getvalue())
    return out


def write(path: Path, pages: list[tuple], gzip: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(members(pages, gzip)))
    return path
