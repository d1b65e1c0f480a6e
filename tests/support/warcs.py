"""WARC files written for tests, with warcio: an implementation independent of the reader under test."""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from llm_assets.sample_web import prose
from llm_assets.sample_web.world import make_world

DATE = "2026-10-05T06:00:00Z"


def page(
    url: str, body: bytes = b"<p>text</p>", status: str = "200 OK", headers: list[tuple[str, str]] | None = None
) -> tuple[str, bytes, str, list[tuple[str, str]]]:
    return url, body, status, headers if headers is not None else [("Content-Type", "text/html")]


def members(pages: list[tuple], gzip: bool = True, kind: str = "response", date: str = DATE) -> list[bytes]:
    """Each record's bytes, so that a test can damage one of them."""
    out = []
    for url, body, status, headers in pages:
        buffer = io.BytesIO()
        writer = WARCWriter(buffer, gzip=gzip, warc_version="1.1")
        http = StatusAndHeaders(status, headers, protocol="HTTP/1.1") if status else None
        writer.write_record(
            writer.create_warc_record(
                url,
                kind,
                io.BytesIO(body),
                http_headers=http,
                warc_headers_dict={
                    "WARC-Date": date,
                    "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>",
                },
                warc_content_type=headers[0][1] if kind == "resource" else "",
            )
        )
        out.append(buffer.getvalue())
    return out


def write(path: Path, pages: list[tuple], gzip: bool = True, date: str = DATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(members(pages, gzip, date=date)))
    return path


@cache
def story(number: int) -> bytes:
    """An English page that every rule keeps; no two numbers give near duplicates."""
    world = make_world(1)
    rng = random.Random(number)
    paragraphs = [prose.portrait(rng, entity, 2) for entity in rng.sample(world.entities, 7)]
    return (
        "<html><head><title>Story</title></head><body><article>"
        + "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
        + "</article></body></html>"
    ).encode()


def raw_record(
    url: str,
    block: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>text</p>",
    rename: Callable[[str], str] = lambda name: name,
    line_end: str = "\r\n",
    **headers: str,
) -> bytes:
    """An uncompressed record as no library writes it. rename: changes the names of the headers."""
    fields = {
        "WARC-Type": "response",
        "WARC-Target-URI": url,
        "WARC-Date": DATE,
        **{f"WARC-{name.replace('_', '-')}": value for name, value in headers.items()},
        "Content-Length": str(len(block)),
    }
    lines = ["WARC/1.0", *(f"{rename(name)}: {value}" for name, value in fields.items())]
    return (line_end.join(lines) + 2 * line_end).encode() + block + b"\r\n\r\n"
