"""The spool stores a running crawl's exchanges append-only, survives a kill, and is sealed into WARC files at the end.

Each record is a gzip member, and a request precedes its response. After a kill the incomplete end is cut off, and the
crawl continues with every stored answer served from the spool instead of the network. Sealing sorts the exchanges by
URL, so that the WARC files do not depend on the order in which answers arrived.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from warcio.warcwriter import WARCWriter

from llm_assets.artifacts.record import fsync_path
from llm_assets.warc import Capture, read_capture_at, read_captures

from ..schemas import CrawlFailures
from ..urls import host_of
from .exchange import record_id

EXCHANGES, FAILURES = "exchanges.warc.gz", "failures.jsonl"
FSYNC_SECONDS = 1.0
DETAIL_CHARACTERS = 300  # of a failure


class Spool:
    """The stored exchanges of one crawl.

    stored: URL → offset of its response in the spool. by_host: number of stored exchanges by host.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / EXCHANGES
        self.failures_path = folder / FAILURES
        self.stored: dict[str, int] = {}
        self.by_host: dict[str, int] = {}
        self._recover()
        self._stream = open(self.path, "ab")  # noqa: SIM115 - closed by close()
        self._failures = open(self.failures_path, "a", encoding="utf-8")  # noqa: SIM115
        self._failed: set[tuple[str, str]] = set()
        self._last_fsync = time.monotonic()

    def _recover(self) -> None:
        """Read what an interrupted run stored, and cut off incomplete ends."""
        if self.path.exists():
            end = 0
            for capture in read_captures(self.path):
                if capture.record_type == "corrupt":
                    break
                self._count(capture.url, capture.offset)
                end = capture.offset + capture.length
            os.truncate(self.path, end)
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
        if time.monotonic() - self._last_fsync > FSYNC_SECONDS:
            os.fsync(self._stream.fileno())
            self._last_fsync = time.monotonic()
        self._count(url, offset)

    def read(self, url: str) -> Capture:
        """The stored answer of a URL, with its payload."""
        capture = read_capture_at(self.path, self.stored[url])
        assert capture is not None
        return capture

    def fail(self, url: str, reason: str, detail: str) -> None:
        """Log a URL that the crawl met and did not store, once for each reason."""
        if (url, reason) not in self._failed:
            self._failed.add((url, reason))
            row = {"url": url, "reason": reason, "detail": detail[:DETAIL_CHARACTERS]}
            self._failures.write(json.dumps(row) + "\n")
            self._failures.flush()

    def close(self) -> None:
        for stream in (self._stream, self._failures):
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()


@dataclass(frozen=True)
class WarcOutput:
    """Where and how a crawl's WARC files are written.

    date: of their warcinfo records. software: the writer's name. file_bytes: size at which a file is full.
    """

    folder: Path
    crawl: str
    date: str
    software: str
    file_bytes: int


def seal(spool_folder: Path, output: WarcOutput) -> list[Path]:
    """Write the spooled exchanges, sorted by URL, into ``<crawl>-00000.warc.gz`` and so on.

    Safe to repeat after a kill: each file is renamed into place when it is complete.
    """
    spool = spool_folder / EXCHANGES
    spans = _exchange_spans(spool)
    output.folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    position = 0
    while position < len(spans) or not files:
        name = f"{output.crawl}-{len(files):05d}.warc.gz"
        temporary = output.folder / f".{name}.{os.getpid()}.tmp"
        with (
            open(temporary, "wb") as out,
            open(spool, "rb") if spool.exists() else contextlib.nullcontext(io.BytesIO()) as exchanges,
        ):
            _write_warcinfo(out, name, output)
            first = position
            while position < len(spans) and (position == first or out.tell() < output.file_bytes):
                _, start, end = spans[position]
                exchanges.seek(start)
                out.write(exchanges.read(end - start))
                position += 1
        fsync_path(temporary)
        os.replace(temporary, output.folder / name)
        files.append(output.folder / name)
    return files


def _exchange_spans(spool: Path) -> list[tuple[str, int, int]]:
    """(URL, start, end) of every exchange, request included, sorted."""
    spans: list[tuple[str, int, int]] = []
    start = 0
    for capture in read_captures(spool) if spool.exists() else []:
        if capture.record_type != "corrupt":
            spans.append((capture.url, start, capture.offset + capture.length))
            start = capture.offset + capture.length
    return sorted(spans)


def _write_warcinfo(out: io.BufferedWriter, name: str, output: WarcOutput) -> None:
    writer = WARCWriter(out, gzip=True, warc_version="1.1")
    fields = {"software": output.software, "format": "WARC File Format 1.1", "isPartOf": output.crawl}
    record = writer.create_warcinfo_record(name, fields)
    record.rec_headers.replace_header("WARC-Date", output.date)
    record.rec_headers.replace_header("WARC-Record-ID", record_id("warcinfo", name, output.date))
    writer.write_record(record)


def failures(spool_folder: Path) -> pl.DataFrame:
    """The log of failures as a sorted table, without URLs that were stored on a later attempt.

    A sitemap that cannot be read stays in it: it is stored, but not what it names.
    """
    path, exchanges = spool_folder / FAILURES, spool_folder / EXCHANGES
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    complete_lines = text[: text.rfind("\n") + 1].splitlines()  # a kill may leave an incomplete last line
    rows = [json.loads(line) for line in complete_lines]
    stored = {capture.url for capture in read_captures(exchanges)} if rows and exchanges.exists() else set()
    distinct = {
        (row["url"], row["reason"]): row for row in rows if row["url"] not in stored or row["reason"] == "not_a_sitemap"
    }
    return pl.DataFrame(
        [
            {"url": url, "host": host_of(url), "reason": reason, "detail": row["detail"]}
            for (url, reason), row in sorted(distinct.items())
        ],
        schema={name: pl.String for name in CrawlFailures.to_schema().columns},
    )
