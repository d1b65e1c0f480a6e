"""Undoes the transfer and content codings of HTTP (RFC 9112, section 7; RFC 9110, section 8.4.1), within a bound."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Mapping

from fastwarc.stream_io import BrotliReader

from .compression import GZIP_MAGIC, zstd

# The line with a chunk's size, in hexadecimal, and extensions.
_CHUNK_SIZE = re.compile(rb"0{0,16}([0-9a-fA-F]{1,8})[ \t]{0,64}(?:;[^\n]{0,4096})?\r?\n")
_READ_BYTES = 1 << 16
_GZIP_WINDOW, _ZLIB_WINDOW, _RAW_WINDOW = 31, 15, -15  # zlib's window bits for the three formats
_TEXT_PROBE_BYTES = 1_024
# Bytes that no text holds, UTF-16 aside: the C0 controls but tab, line breaks, form feed, and the ESC of ISO-2022-JP.
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_CONTROL_SHARE = 0.03  # of a text with stray controls; compressed data has a tenth
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class ContentCodingError(ValueError):
    """The bytes are not in the stated coding, or the coding is unknown."""


class TooLarge(ContentCodingError):
    """More bytes come out than allowed."""


def decode_coding(payload: bytes, coding: str, limit: int) -> bytes:
    """A body without one coding, of at most `limit` bytes; of a truncated body, what came before the cut.

    Archives often store a body decoded and keep the header, so text that does not decode is taken as it is. A body that
    does decode is decoded, whatever it looks like. Raises ContentCodingError.
    """
    name = coding.removeprefix("x-")
    decoder = _DECODERS.get(name)
    try:
        if decoder is None:
            raise ContentCodingError(f"unknown coding {coding[:40]}")
        decoded, is_whole = decoder(payload, limit)
    except TooLarge:
        raise
    except (ContentCodingError, zlib.error, zstd.ZstdError, OSError) as error:
        if is_text(payload):
            return payload
        raise ContentCodingError(f"{coding}: {error}" if decoder else str(error)) from error
    # A text may by chance be the beginning of a stream.
    return payload if not is_whole and is_text(payload) else decoded


def is_text(payload: bytes) -> bool:
    """Whether bytes look like text, in any encoding, rather than like compressed data."""
    head = payload[:_TEXT_PROBE_BYTES]
    return head.startswith(_UTF16_MARKS) or _BINARY.search(head) is None


def _gzip(payload: bytes, limit: int) -> tuple[bytes, bool]:
    """All members; what follows the last one, if it is none, is left out, as browsers do.

    Bytes without gzip's magic number are certainly not in the coding. They are taken as they are, unless so many of
    them are controls that they must be in another coding.
    """
    if not payload.startswith(GZIP_MAGIC[:2]):
        head = payload[:_TEXT_PROBE_BYTES].replace(b"\0", b"")  # half of UTF-16
        if len(_BINARY.findall(head)) > _CONTROL_SHARE * len(head):
            raise ContentCodingError("no gzip stream, and no text")
        return payload, True
    decoded, rest = b"", payload
    while True:
        try:
            piece, rest, is_whole = _inflate(rest, _GZIP_WINDOW, limit - len(decoded))
        except zlib.error:
            if decoded:
                return decoded, True
            raise
        decoded += piece
        if not rest or not is_whole:
            return decoded, is_whole


def _deflate(payload: bytes, limit: int) -> tuple[bytes, bool]:
    """The zlib format, or the bare deflate stream that some servers send under this name (RFC 9110, 8.4.1.2)."""
    has_header = len(payload) > 1 and payload[0] & 0x0F == 8 and (payload[0] << 8 | payload[1]) % 31 == 0
    piece, _, is_whole = _inflate(payload, _ZLIB_WINDOW if has_header else _RAW_WINDOW, limit)
    return piece, is_whole


def _inflate(payload: bytes, window: int, limit: int) -> tuple[bytes, bytes, bool]:
    inflater = zlib.decompressobj(window)
    piece = inflater.decompress(payload, limit + 1)
    _check(len(piece), limit, payload)
    return piece, inflater.unused_data, inflater.eof


def _brotli(payload: bytes, limit: int) -> tuple[bytes, bool]:
    reader, pieces, total = BrotliReader(io.BytesIO(payload)), [], 0
    try:
        while piece := reader.read(_READ_BYTES):
            pieces.append(piece)
            total += len(piece)
            _check(total, limit, payload)
    except OSError:
        if not pieces:
            raise
        return b"".join(pieces), False
    return b"".join(pieces), True


def _zstd(payload: bytes, limit: int) -> tuple[bytes, bool]:
    """All frames (RFC 8878, section 3.1)."""
    decoded, rest = b"", payload
    while rest:
        inflater = zstd.ZstdDecompressor()
        try:
            decoded += inflater.decompress(rest, limit + 1 - len(decoded))
        except zstd.ZstdError:
            if decoded:
                return decoded, False
            raise
        _check(len(decoded), limit, payload)
        if not inflater.eof:
            return decoded, False
        rest = inflater.unused_data
    return decoded, True


def _check(size: int, limit: int, payload: bytes) -> None:
    if size > limit:
        raise TooLarge(f"more than {limit} bytes out of {len(payload)}")


def _identity(payload: bytes, limit: int) -> tuple[bytes, bool]:
    return payload, True


_DECODERS: dict[str, Callable[[bytes, int], tuple[bytes, bool]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
    # Not codings, but servers send them.
    "identity": _identity,
    "none": _identity,
    "utf-8": _identity,
}
CODINGS = "gzip deflate br zstd"


def dechunk(payload: bytes) -> bytes:
    """Join the chunks of RFC 9112 section 7.1; the payload itself where it is not chunked after all.

    Lines may end in a bare LF (section 2.2).
    """
    out, position = [], 0
    while True:
        size_line = _CHUNK_SIZE.match(payload, position)
        if size_line is None:
            return b"".join(out) if out else payload
        size = int(size_line[1], 16)
        if size == 0:
            return b"".join(out)
        out.append(payload[size_line.end() : size_line.end() + size])
        position = size_line.end() + size
        position += 2 if payload.startswith(b"\r\n", position) else 1


def decode_http_body(payload: bytes, headers: Mapping[str, str], limit: int) -> bytes:
    """A stored body without the transfer and content codings that its response's headers (lower-case names) state.

    Raises ContentCodingError.
    """
    payload = decode_transfer(payload, headers.get("transfer-encoding", ""), limit)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        if coding.strip():
            payload = decode_coding(payload, coding.strip(), limit)
    return payload


def decode_transfer(payload: bytes, header: str, limit: int) -> bytes:
    """A body without the codings of a Transfer-Encoding header (RFC 9112, section 6.1). Raises ContentCodingError."""
    for coding in reversed([coding.strip().lower() for coding in header.split(",")]):
        if coding == "chunked":
            payload = dechunk(payload)
        elif coding.removeprefix("x-") in ("gzip", "deflate"):
            payload = decode_coding(payload, coding, limit)
    return payload
