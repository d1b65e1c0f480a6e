"""One exchange of a crawl, request and answer, as WARC 1.1 records."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

REVISIT_NOT_MODIFIED = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
REVISIT_SAME_DIGEST = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
Headers = list[tuple[str, str]]


def warc_date(clock: datetime | None) -> str:
    """A WARC-Date: the given time, or now, in UTC."""
    return (clock or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_id(*parts: str) -> str:
    """A WARC-Record-ID derived from the record's identity, so that the same exchange gives the same bytes."""
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, chr(10).join(parts))}>"


@dataclass(frozen=True)
class Revisit:
    """Why an answer is stored as a revisit: the original's URL and date, and the WARC profile."""

    url: str
    date: str
    profile: str


@dataclass(frozen=True)
class Exchange:
    """A request and its answer. digest: of the payload, in WARC's form. revisit: None for a full response."""

    url: str
    date: str
    request_line: str
    request_headers: Headers
    status_line: str
    headers: Headers
    body: bytes
    digest: str
    revisit: Revisit | None = None
    ip_address: str | None = None

    @property
    def record_type(self) -> str:
        return "revisit" if self.revisit else "response"

    @property
    def response_id(self) -> str:
        return record_id(self.record_type, self.url, self.date, self.digest)

    def members(self) -> list[bytes]:
        """The gzip members: the request record, then the response or revisit record."""
        return [_gzip_member(self._request()), _gzip_member(self._response())]

    def _request(self) -> dict[str, Any]:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.request_headers)
        return {
            "uri": self.url,
            "record_type": "request",
            "payload": io.BytesIO(f"{self.request_line}\r\n{lines}\r\n".encode("utf-8", "replace")),
            "warc_headers_dict": {
                "WARC-Record-ID": record_id("request", self.url, self.date, self.digest),
                "WARC-Date": self.date,
                "WARC-Concurrent-To": self.response_id,
            },
            "warc_content_type": "application/http; msgtype=request",
        }

    def _response(self) -> dict[str, Any]:
        warc_headers = {
            "WARC-Record-ID": self.response_id,
            "WARC-Date": self.date,
            "WARC-Payload-Digest": self.digest,
        }
        if self.ip_address:
            warc_headers["WARC-IP-Address"] = self.ip_address
        if self.revisit:
            warc_headers["WARC-Profile"] = self.revisit.profile
            warc_headers["WARC-Refers-To-Target-URI"] = self.revisit.url
            warc_headers["WARC-Refers-To-Date"] = self.revisit.date
        protocol, _, status = self.status_line.partition(" ")
        return {
            "uri": self.url,
            "record_type": self.record_type,
            "payload": io.BytesIO(b"" if self.revisit else self.body),
            "http_headers": StatusAndHeaders(status, self.headers, protocol=protocol),
            "warc_headers_dict": warc_headers,
            "warc_content_type": "application/http; msgtype=response",
        }


def _gzip_member(fields: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    writer = WARCWriter(buffer, gzip=True, warc_version="1.1")
    writer.write_record(writer.create_warc_record(**fields))
    return buffer.getvalue()
