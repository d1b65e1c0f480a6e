"""Fuzz targets of HTTP responses: heads, transfer and content codings, and character encodings."""

from __future__ import annotations

import gzip
import zlib

import brotli

from llm_assets.curation.encoding import BodyError, decode_body, decode_characters
from llm_assets.warc import ContentCodingError, dechunk, decode_coding, parse_http
from llm_assets.warc.compression import zstd
from llm_assets.warc.content_coding import is_text

from .targets import Target

LIMIT = 1 << 16
ENCODERS = {
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}

SEVERAL_LINES = {"x-robots-tag", "content-usage", "content-signal"}  # of which each line counts for itself


def read_response(data: bytes) -> None:
    """A head is read from any bytes, and the body after it is decoded within its limit or refused."""
    status, headers, length = parse_http(data)
    assert 0 <= length <= len(data) and (status is None) == (headers is None)
    for name, value in (headers or {}).items():
        assert name == name.lower() and ("\n" not in value or name in SEVERAL_LINES)
        value.encode()
    try:
        body = decode_body(data[length:], headers or {}, LIMIT)
    except BodyError:
        return
    assert len(body) <= LIMIT


def decode_what_was_coded(data: bytes) -> None:
    """What is coded is decoded; of a part of it, the beginning is. The first two bytes name the coding and the cut."""
    name, body = list(ENCODERS)[data[0] % 4] if data else "gzip", data[2:]
    coded = ENCODERS[name](body)
    assert decode_coding(coded, name, LIMIT) == body
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:7], body[7:]) if piece) + b"0\r\n\r\n"
    assert dechunk(chunked) == body
    part = coded[: len(coded) * (data[1] if len(data) > 1 else 0) // 256]
    try:
        decoded = decode_coding(part, name, LIMIT)
    except ContentCodingError:
        return
    assert body.startswith(decoded) or (decoded == part and is_text(part))


def read_characters(data: bytes) -> None:
    """Any bytes with any label are characters that UTF-8 can hold; valid UTF-8 is read as UTF-8.

    The first line is the charset of the HTTP header.
    """
    label, _, body = data.partition(b"\n")
    decoded = decode_characters(body, label.decode("latin-1") or None)
    decoded.text.encode()
    assert len(decoded.text) <= len(body) + 1
    text = body.decode("utf-8", "ignore").replace("\0", "").lstrip("\ufeff")
    if not text.isascii():
        assert decode_characters(text.encode(), label.decode("latin-1") or None).text == text


def _responses() -> list[bytes]:
    page = b"<html><body><p>text text text</p></body></html>"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
    coded = [
        head + b"Content-Encoding: %s\r\n\r\n%s" % (name.encode(), encode(page)) for name, encode in ENCODERS.items()
    ]
    return [
        head + b"\r\n" + page,
        head + b"Transfer-Encoding: chunked\r\nX-Robots-Tag: a\r\nX-Robots-Tag: b\r\n c\r\n\r\n5\r\n<p>a<\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Type: text/html\r\n\r\n<p>one</p>\n\n<p>two</p>",
        head + b"Content-Encoding: gzip, br\r\n\r\n" + brotli.compress(gzip.compress(page, mtime=0)),
        *coded,
        *FINDINGS,
    ]


def _texts() -> list[bytes]:
    samples = {
        "shift_jis": "日本語の文章です。",
        "euc-kr": "한국어 문장",
        "big5": "中文句子",
        "gb18030": "中文句子",
        "windows-1251": "русский текст",
        "iso-2022-jp": "日本語",
        "utf-16le": "wide text in two bytes",
        "iso-8859-9": "ışık",
    }
    texts = [f"{label}\n".encode() + text.encode(label) for label, text in samples.items()]
    return [
        *texts,
        b"\n<meta charset=koi8-r>" + "текст".encode("koi8-r"),
        b"\n\xef\xbb\xbfmarked",
        b"\n\xff\xfem\0",
        b'utf-8\n<?xml version="1.0" encoding="x-user-defined"?>\x80',
    ]


FINDINGS: list[bytes] = []

TARGETS = {
    "http": Target(read_response, _responses, ("llm_assets.warc", "llm_assets.curation.encoding"), 400),
    "codings": Target(
        decode_what_was_coded,
        lambda: [bytes([coding, 200]) + b"<p>text</p>" * 9 for coding in range(4)],
        ("llm_assets.warc.content_coding",),
        200,
    ),
    "characters": Target(read_characters, _texts, ("llm_assets.curation.encoding",), 400),
}
