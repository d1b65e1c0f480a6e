"""Fuzz targets of WARC and ARC files: reading, indexing, and taking records down."""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from llm_assets.warc import (
    Capture,
    RecordSpan,
    WarcError,
    is_arc,
    read_capture_at,
    read_captures,
    read_spans,
    sha1_digest,
)
from llm_assets.warc.compression import zstd
from llm_assets.web.blanking import blank_records
from llm_assets.web.capture_index import capture_row
from llm_assets.web.errors import SourceError
from llm_assets.web.opt_out_signals import content_signals, decoded_head, page_signals, policy_of, tdm_rules
from tests.support.warcs import members, page, raw_record

from .targets import Target

_RECORD = re.compile(rb"(?:\A|(?<=\n))WARC/1\.[01]\r\n(?i:WARC-Type: ?response\r\n)")
_BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@contextmanager
def stored(data: bytes, name: str = "fuzzed.warc") -> Iterator[Path]:
    """A file of these bytes, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        yield path


def read_archive(data: bytes) -> None:
    """Every record is a capture or within a corrupt stretch, and a whole capture can be read again by its offset."""
    with stored(data) as path:
        try:
            captures = list(read_captures(path))
            spans = list(read_spans(path))
        except WarcError:
            return
        _check_order(captures)
        _check_payloads(path, captures)
        if not is_arc(path) and data[:1] == b"W":
            _check_coverage(data, [*captures, *spans])
        for capture in captures:
            _check_row(capture)


def _check_order(captures: list[Capture]) -> None:
    """Offsets rise, and no capture overlaps another, and no corrupt stretch another.

    A stretch may begin within the capture before it, if that may be damaged.
    """
    assert all(capture.offset >= 0 and capture.length >= 0 for capture in captures)
    offsets = [capture.offset for capture in captures]
    assert offsets == sorted(set(offsets))
    for is_corrupt in (False, True):
        stretches = [capture for capture in captures if (capture.record_type == "corrupt") == is_corrupt]
        for capture, following in pairwise(stretches):
            assert capture.offset + capture.length <= following.offset, (capture, following)


def _check_payloads(path: Path, captures: list[Capture]) -> None:
    whole = {capture.offset: capture for capture in captures if capture.record_type != "corrupt"}
    assert len(whole) == sum(capture.record_type != "corrupt" for capture in captures)
    again = {c.offset: c for c in read_captures(path, set(whole)) if c.record_type != "corrupt"}
    assert set(again) == set(whole), (sorted(whole), sorted(again))
    for offset, capture in whole.items():
        if capture.record_type == "revisit":
            continue  # its payload is that of another record
        payload = again[offset].payload
        assert payload is not None and len(payload) == capture.payload_bytes
        assert sha1_digest(payload) == capture.digest


def _check_coverage(data: bytes, rows: list[Capture]) -> None:
    """Of an uncompressed file, whatever begins like a response is within a row."""
    for start in (match.start() for match in _RECORD.finditer(data)):
        assert any(row.offset <= start < row.offset + row.length for row in rows), start


def _check_row(capture: Capture) -> None:
    """A row of the index can be written, and everything that is read from the payload's beginning."""
    row = capture_row(capture, "fuzzed.warc", "crawl")
    for value in row.values():
        if isinstance(value, str):
            value.encode()
        elif value is not None:
            assert 0 <= value < 1 << 63
    if capture.record_type == "response":
        page_signals(capture)
        if policy_of(row["url"]) is not None or capture.url.endswith(("robots.txt", "tdmrep.json")):
            text = decoded_head(capture).decode("utf-8", "replace")
            content_signals(text)
            tdm_rules(text)


def take_down(data: bytes) -> None:
    """Taking records down leaves all others where and as they are, and nothing of the covered ones."""
    with stored(data, "fuzzed.warc.gz" if data[:2] == b"\x1f\x8b" else "fuzzed.warc") as path:
        try:
            before = list(read_captures(path))
            blank_records(path, lambda url: "secret" in url)
        except (WarcError, SourceError):
            return
        after = {(c.offset, c.url, c.digest) for c in read_captures(path)}
        if is_arc(path) or any(capture.record_type == "corrupt" for capture in before):
            return  # ARC records keep their URL; a damaged record may reach into the next one
        for capture in before:
            if "secret" not in capture.url:
                assert (capture.offset, capture.url, capture.digest) in after, capture
        assert not any("secret" in url for _, url, _ in after)


def read_at(data: bytes) -> None:
    """A record is read at any offset, or an error says that there is none. The first two bytes are the offset."""
    with stored(data[2:]) as path:
        try:
            capture = read_capture_at(path, int.from_bytes(data[:2], "big"))
        except (WarcError, OSError):
            return
        assert capture is None or not isinstance(capture, RecordSpan)


def _warcs() -> list[bytes]:
    pages = [
        page("http://a.example/one", b"<p>one</p>"),
        page("http://a.example/secret", b"x" * 300),
        page("http://a.example/robots.txt", b"User-agent: *\nContent-Signal: ai-train=no"),
    ]
    plain = members(pages, gzip=False)
    packed = [gzip.compress(record, mtime=0) for record in plain]
    resource = members([("http://a.example/r", b"text", "", [("Content-Type", "text/html")])], False, "resource")
    odd = raw_record("<http://a.example/two>", rename=str.lower, line_end="\n", Payload_Digest="sha256:00ff")
    revisit = raw_record("http://a.example/one", Refers_To_Date="2026-01-01", Truncated="length").replace(
        b"response", b"revisit", 1
    )
    frames = [zstd.compress(record) for record in plain]
    return [
        b"".join(plain),
        b"".join(packed),
        packed[0] + gzip.compress(b"") + packed[1] + _BGZIP_END + b"\0" * 40 + packed[2],
        gzip.compress(b"".join(plain), mtime=0),
        b"".join(frames),
        plain[0] + b"damage\r\n" + plain[1],
        resource[0] + odd + revisit,
        *_findings(),
    ]


def _arcs() -> list[bytes]:
    version = b"1 0 test\nURL IP-address Archive-date Content-type Archive-length\n"
    head = b"filedesc://test.arc 0.0.0.0 20050101000000 text/plain %d\n" % len(version)
    body = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>one</p>"
    records = [
        head + version + b"\n",
        *(
            b"http://a.example/%s 1.2.3.4 20050101000000 text/html %d\n%s\n" % (name, len(body), body)
            for name in (b"one", b"secret", b"two")
        ),
    ]
    return [
        b"".join(records),
        b"".join(gzip.compress(record, mtime=0) for record in records),
        b"".join(records).replace(b"html %d" % len(body), b"html " + b"9" * 40),
        b"".join(records).replace(b"200 OK", b"\xb2\xb2\xb2 OK"),
    ]


def _findings() -> list[bytes]:
    """A URL that cannot be read, records longer than the file, a file of one member that is cut."""
    plain = members([page(f"http://a.example/{number}") for number in range(3)], gzip=False)
    overlong = plain[0].replace(b"Content-Length: 5", b"Content-Length: 99999", 1)
    packed = gzip.compress(b"".join(plain), mtime=0)
    return [
        raw_record("http://[bad/robots.txt") + plain[1],
        overlong + plain[1],
        overlong.replace(b"response", b"request", 1) + plain[1],
        gzip.compress(overlong, mtime=0) + gzip.compress(plain[1], mtime=0),
        gzip.compress(plain[0].replace(b"Content-Length: ", b"Content-Length: " + b"9" * 5_000), mtime=0),
        packed[: len(packed) * 3 // 4],
    ]


_MODULES = ("llm_assets.warc", "llm_assets.web.capture_index", "llm_assets.web.opt_out_signals")
TARGETS = {
    "warc": Target(read_archive, _warcs, _MODULES, 300),
    "arc": Target(read_archive, _arcs, (*_MODULES, "warcio"), 150),
    "takedown": Target(take_down, lambda: [*_warcs(), *_arcs()], ("llm_assets.warc", "llm_assets.web.blanking"), 150),
    "warc_offset": Target(read_at, lambda: [b"\0\0" + data for data in _warcs()], ("llm_assets.warc",), 100),
}
