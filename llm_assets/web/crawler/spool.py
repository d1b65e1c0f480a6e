"""The spool: what a running crawl has stored, append-only, safe against a kill; sealed into WARC files at the end.

One gzip member a record, a request before its response. After a kill the torn tail is cut off and the crawl goes on
with every stored answer served from here instead of the network. Sealing orders exchanges by URL, so that the WARC
files do not depend on the order in which answers arrived.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from llm_assets.artifacts.record import fsync_path
from llm_assets.warc import Capture, read_capture_at, read_captures

from ..schemas import CrawlFailures
from ..urls import host_of

REVISIT_NOT_MODIFIED = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
REVISIT_SAME_DIGEST = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
FSYNC_SECONDS = 1.0


def warc_date(clock: datetime | None) -> str:
    return (clock or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_id(*parts: str) -> str:
    """A WARC-Record-ID derived from what the record is, so that the same exchange gives the same bytes."""
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, chr(10).join(parts))}>"


class Spool:
    """Stored exchanges of one crawl, with an index in memory: URL → offset of its response."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "exchanges.warc.gz"
        self.failures_path = folder / "failures.jsonl"
        self.stored: dict[str, int] = {}
        self.by_host: dict[str, int] = {}
        self._recover()
        self._stream = open(self.path, "ab")  # noqa: SIM115 - closed by close()
        self._failures = open(self.failures_path, "a", encoding="utf-8")  # noqa: SIM115
        self._failed: set[tuple[str, str]] = set()
        self._synced = time.monotonic()

    def _recover(self) -> None:
        if self.path.exists():
            whole = 0
            for capture in read_captures(self.path):
                if capture.record_type == "corrupt":
                    break
                self._count(capture.url, capture.offset)
                whole = capture.offset + capture.length
            os.truncate(self.path, whole)
        if self.failures_path.exists():
            data = self.failures_path.read_bytes()
            os.truncate(self.failures_path, data.rfind(b"\n") + 1)

    def _count(self, url: str, offset: int) -> None:
        self.stored[url] = offset
        host = host_of(url)
        self.by_host[host] = self.by_host.get(host, 0) + 1

    def add(self, url: str, members: list[bytes]) -> None:
        """Append one exchange; the last member is the response or revisit record."""
        offset = self._stream.tell() + sum(len(member) for member in members[:-1])
        self._stream.write(b"".join(members))
        self._stream.flush()
        if time.monotonic() - self._synced > FSYNC_SECONDS:
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()
        self._count(url, offset)

    def read(self, url: str) -> Capture:
        capture = read_capture_at(self.path, self.stored[url])
        assert capture is not None
        return capture

    def fail(self, url: str, reason: str, detail: str) -> None:
        """Log a URL that was met and not stored."""
        if (url, reason) not in self._failed:
            self._failed.add((url, reason))
            self._failures.write(json.dumps({"url": url, "reason": reason, "detail": detail[:300]}) + "\n")
            self._failures.flush()

    def close(self) -> None:
        for stream in (self._stream, self._failures):
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()


def exchange(
    url: str,
    date: str,
    request: tuple[str, list[tuple[str, str]]],
    status_line: str,
    headers: list[tuple[str, str]],
    body: bytes,
    digest: str,
    refers_to: tuple[str, str] | None = None,
    profile: str = REVISIT_NOT_MODIFIED,
    ip_address: str | None = None,
) -> list[bytes]:
    """The gzip members of one exchange: request record, then response record (or a revisit that points to `refers_to`:
    the original's URL and date).
    """
    kind = "revisit" if refers_to else "response"
    response_id = record_id(kind, url, date, digest)
    request_bytes = (
        f"{request[0]}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in request[1]) + "\r\n"
    ).encode("utf-8", "replace")
    extra = {"WARC-Record-ID": response_id, "WARC-Date": date, "WARC-Payload-Digest": digest}
    if ip_address:
        extra["WARC-IP-Address"] = ip_address
    if refers_to:
        extra |= {
            "WARC-Profile": profile,
            "WARC-Refers-To-Target-URI": refers_to[0],
            "WARC-Refers-To-Date": refers_to[1],
        }
    protocol, _, rest = status_line.partition(" ")
    http = StatusAndHeaders(rest, headers, protocol=protocol)
    members = []
    for member in ("request", kind):
        buffer = io.BytesIO()
        writer = WARCWriter(buffer, gzip=True, warc_version="1.1")
        if member == "request":
            record = writer.create_warc_record(
                url,
                "request",
                io.BytesIO(request_bytes),
                warc_headers_dict={
                    "WARC-Record-ID": record_id("request", url, date, digest),
                    "WARC-Date": date,
                    "WARC-Concurrent-To": response_id,
                },
                warc_content_type="application/http; msgtype=request",
            )
        else:
            record = writer.create_warc_record(
                url,
                kind,
                io.BytesIO(b"" if refers_to else body),
                http_headers=http,
                warc_headers_dict=extra,
                warc_content_type="application/http; msgtype=response",
            )
        writer.write_record(record)
        members.append(buffer.getvalue())
    return members


def seal(
    spool_folder: Path, warc_folder: Path, crawl: str, date: str, software: str, limit: int = 256 << 20
) -> list[Path]:
    """Write the spooled exchanges, ordered by URL, into ``<crawl>-00000.warc.gz`` and following files of about `limit`
    bytes. Safe to repeat after a kill: each file is renamed into place when it is whole.
    """
    source = spool_folder / "exchanges.warc.gz"
    spans: list[tuple[str, int, int]] = []
    start = 0
    for capture in read_captures(source) if source.exists() else []:
        if capture.record_type != "corrupt":
            spans.append((capture.url, start, capture.offset + capture.length))
            start = capture.offset + capture.length
    spans.sort()
    warc_folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    position = 0
    while position < len(spans) or not files:
        name = f"{crawl}-{len(files):05d}.warc.gz"
        temporary = warc_folder / f".{name}.{os.getpid()}.tmp"
        with (
            open(temporary, "wb") as out,
            open(source, "rb") if source.exists() else contextlib.nullcontext(io.BytesIO()) as spool,
        ):
            writer = WARCWriter(out, gzip=True, warc_version="1.1")
            info = writer.create_warcinfo_record(
                name, {"software": software, "format": "WARC File Format 1.1", "isPartOf": crawl}
            )
            info.rec_headers.replace_header("WARC-Date", date)
            info.rec_headers.replace_header("WARC-Record-ID", record_id("warcinfo", name, date))
            writer.write_record(info)
            first = position
            while position < len(spans) and (position == first or out.tell() < limit):
                _, begin, end = spans[position]
                spool.seek(begin)
                out.write(spool.read(end - begin))
                position += 1
        fsync_path(temporary)
        os.replace(temporary, warc_folder / name)
        files.append(warc_folder / name)
    return files


def failures(spool_folder: Path) -> pl.DataFrame:
    """The failures log as a table, in stable order, without what was stored on a later try."""
    path, exchanges = spool_folder / "failures.jsonl", spool_folder / "exchanges.warc.gz"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]  # a kill leaves a torn last line
    stored = {capture.url for capture in read_captures(exchanges)} if rows and exchanges.exists() else set()
    distinct = {(row["url"], row["reason"]): row for row in rows if row["url"] not in stored}
    return pl.DataFrame(
        [
            {"url": url, "host": host_of(url), "reason": reason, "detail": row["detail"]}
            for (url, reason), row in sorted(distinct.items())
        ],
        schema={name: pl.String for name in CrawlFailures.to_schema().columns},
    )
