"""From a stored payload to characters: transfer and content coding, then the character encoding. Bounded in bytes."""

from __future__ import annotations

import codecs
import re
import zlib
from dataclasses import dataclass

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]{1,40})""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([a-zA-Z0-9_:.-]{1,40})""")
# The HTML standard looks for a declaration in the first 1,024 bytes; real pages push it further down with scripts.
META_BYTES = 4_096
DETECT_BYTES = 131_072
# Bytes that are no UTF-8 in a page that declares it: up to this share of the non-ASCII ones are taken as damage.
DAMAGED_UTF8 = 0.1
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
# Python's names for what the WHATWG encoding standard calls otherwise.
_WHATWG = [
    (re.compile(r"^cp(125\d)$"), r"windows-\1"),
    (re.compile(r"^iso8859-"), "iso-8859-"),
    (re.compile(r"^iso2022_jp$"), "iso-2022-jp"),
    (re.compile(r"^euc_"), "euc-"),
    (re.compile(r"^mac-roman$"), "macintosh"),
]
_STATEFUL = {"iso-2022-jp"}


class BodyError(ValueError):
    """A body that cannot be decoded; `rule`, `value` and `threshold` go to the ledger."""

    def __init__(self, rule: str, value: str, threshold: str = ""):
        super().__init__(f"{rule}: {value}")
        self.rule, self.value, self.threshold = rule, value, threshold


def decode_body(payload: bytes, headers: dict[str, str], limit: int) -> bytes:
    """Undo Transfer-Encoding and Content-Encoding. Archives often store a body decoded and keep the header, so a body
    that is not in the stated coding is taken as it is. Raises BodyError when more than `limit` bytes come out.
    """
    if "chunked" in headers.get("transfer-encoding", "").lower():
        payload = dechunk(payload)
    for coding in reversed([c.strip().lower() for c in headers.get("content-encoding", "").split(",") if c.strip()]):
        if coding in ("gzip", "x-gzip"):
            payload = _inflate(payload, 31, limit, coding) if payload[:2] == b"\x1f\x8b" else payload
        elif coding == "deflate":
            zlib_header = len(payload) > 1 and payload[0] & 0x0F == 8 and (payload[0] << 8 | payload[1]) % 31 == 0
            payload = (
                _inflate(payload, 15 if zlib_header else -15, limit, coding)
                if payload.lstrip()[:1] != b"<"
                else payload
            )
        elif coding == "br":
            payload = _brotli(payload, limit) if payload.lstrip()[:1] != b"<" else payload
        elif coding not in ("identity", "utf-8", "none"):
            if payload.lstrip()[:1] == b"<":
                continue
            raise BodyError("content_encoding", f"unknown coding {coding[:40]}", "gzip deflate br")
    if len(payload) > limit:
        raise BodyError("too_large", str(len(payload)), str(limit))
    return payload


def dechunk(payload: bytes) -> bytes:
    """Join the chunks of RFC 9112 section 7.1; the payload itself where it is not chunked after all."""
    out, position = [], 0
    while True:
        end = payload.find(b"\r\n", position, position + 64)
        size_text = payload[position:end].split(b";")[0].strip() if end >= 0 else b""
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size_text):
            return b"".join(out) if out else payload
        size = int(size_text, 16)
        if size == 0:
            return b"".join(out)
        out.append(payload[end + 2 : end + 2 + size])
        position = end + 2 + size + 2


def _inflate(payload: bytes, window: int, limit: int, coding: str) -> bytes:
    out, total = [], 0
    data = payload
    while data:
        inflate = zlib.decompressobj(window)
        try:
            piece = inflate.decompress(data, limit + 1 - total)
        except zlib.error as error:
            if out:
                break  # garbage behind a whole member, as browsers accept
            raise BodyError("content_encoding", f"{coding}: {error}") from error
        out.append(piece)
        total += len(piece)
        if total > limit:
            raise BodyError("too_large", f"more than {limit} bytes out of {len(payload)}", str(limit))
        if not inflate.eof or window != 31:
            break  # a truncated body still holds what came before
        data = inflate.unused_data
    return b"".join(out)


def _brotli(payload: bytes, limit: int) -> bytes:
    import io

    from fastwarc.stream_io import BrotliReader

    try:
        reader = BrotliReader(io.BytesIO(payload))
        out, total = [], 0
        while chunk := reader.read(65_536):
            out.append(chunk)
            total += len(chunk)
            if total > limit:
                raise BodyError("too_large", f"more than {limit} bytes out of {len(payload)}", str(limit))
        return b"".join(out)
    except OSError as error:
        raise BodyError("content_encoding", f"br: {error}") from error


@dataclass(frozen=True)
class Decoded:
    """Characters and the encoding (a WHATWG name) they were read in."""

    text: str
    encoding: str


def declared_charset(body: bytes) -> str | None:
    """The charset of a page's meta element or XML declaration."""
    head = body[:META_BYTES]
    match = _XML.match(head) or _META.search(head)
    return match.group(1).decode("ascii") if match else None


def decode_characters(body: bytes, charset: str | None = None) -> Decoded:
    """Read a page's bytes as characters.

    In this order: a byte order mark; bytes that are valid UTF-8 (a text of another encoding hardly ever is by chance);
    the HTTP header's `charset`; the page's own declaration; detection. Unknown labels are passed over. Never raises:
    what has no meaning in the encoding becomes U+FFFD.
    """
    for bom, name in _BOMS:
        if body.startswith(bom):
            return Decoded(body[len(bom) :].decode(name, "replace"), name)
    wide = _utf16_without_bom(body)
    if wide is not None:
        return Decoded(body.decode(wide, "replace"), wide)
    labels = [label for label in (charset, declared_charset(body)) if label]
    known = [name for label in labels if (name := _known(label)) is not None]
    try:
        text = body.decode("utf-8")
        stateful = next((name for name in known if name in _STATEFUL), None)
        if stateful is None or not text.isascii() or ("\x1b$" not in text and "\x1b(" not in text):
            return Decoded(text, "utf-8")
        return Decoded(bytes_to_str(body, stateful, "replace"), stateful)
    except UnicodeDecodeError:
        pass
    for name in known:
        if name == "utf-8":
            text = body.decode("utf-8", "replace")
            if text.count("\ufffd") <= DAMAGED_UTF8 * sum(not ch.isascii() for ch in text[:DETECT_BYTES]):
                return Decoded(text, "utf-8")
            continue
        if name.startswith("utf-16"):
            continue  # a page whose label could be read as ASCII is not UTF-16
        return Decoded(bytes_to_str(body, name, "replace"), name)
    name = _known(detect_encoding(body[:DETECT_BYTES]) or "") or "windows-1252"
    if name.startswith("utf-16"):
        name = "windows-1252"
    return Decoded(bytes_to_str(body, name, "replace"), name)


def _known(label: str) -> str | None:
    try:
        name = map_encoding_to_html5(label.strip().lower(), False)
    except (ValueError, LookupError):
        return None
    if not name:
        return None
    for pattern, replacement in _WHATWG:
        name = pattern.sub(replacement, name)
    try:
        codecs.lookup(name)
    except LookupError:
        return None
    return name


def _utf16_without_bom(body: bytes) -> str | None:
    """UTF-16 gives itself away in markup: every second byte of ASCII is zero."""
    head = body[:1024]
    if len(head) < 16 or head.count(0) < len(head) // 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 4 * even and odd > len(head) // 5:
        return "utf-16le"
    if even > 4 * odd and even > len(head) // 5:
        return "utf-16be"
    return None
