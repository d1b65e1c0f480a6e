"""From a stored payload to characters: transfer and content coding first, then the character encoding.

Output is bounded in bytes.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

from llm_assets.warc import CODINGS, ContentCodingError, TooLarge, decode_coding, decode_transfer

_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]{1,40})""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([a-zA-Z0-9_:.-]{1,40})""")
# The HTML standard looks for a declaration in the first 1,024 bytes; real pages push it further down with scripts.
META_BYTES = 4_096
DETECT_BYTES = 131_072
# In a page declared as UTF-8, up to this share of the non-ASCII characters may be invalid: they count as damage.
DAMAGED_UTF8 = 0.1
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
# Python's names of encodings, and their names in the WHATWG encoding standard.
_WHATWG = [
    (re.compile(r"^cp(125\d)$"), r"windows-\1"),
    (re.compile(r"^iso8859-"), "iso-8859-"),
    (re.compile(r"^iso2022_jp$"), "iso-2022-jp"),
    (re.compile(r"^euc_"), "euc-"),
    (re.compile(r"^mac-roman$"), "macintosh"),
]
_STATEFUL = {"iso-2022-jp"}
_FALLBACK = "windows-1252"
_UTF16_BYTES = 1024  # read to recognise UTF-16


class BodyError(ValueError):
    """A body that cannot be decoded or used. The reject ledger records its `rule`, `value` and `threshold`."""

    def __init__(self, rule: str, value: str, threshold: str = ""):
        super().__init__(f"{rule}: {value}")
        self.rule, self.value, self.threshold = rule, value, threshold


def decode_body(payload: bytes, headers: dict[str, str], limit: int) -> bytes:
    """Undo Transfer-Encoding and Content-Encoding.

    Archives often store a decoded body with its original headers, so a body that is not in the stated coding is
    returned unchanged. Raises BodyError if more than `limit` bytes come out, or for an unknown coding.
    """
    codings = [coding.strip().lower() for coding in headers.get("content-encoding", "").split(",")]
    try:
        payload = decode_transfer(payload, headers.get("transfer-encoding", ""), limit)
        for coding in reversed([coding for coding in codings if coding]):
            payload = decode_coding(payload, coding, limit)
    except TooLarge as error:
        raise BodyError("too_large", str(error), str(limit)) from error
    except ContentCodingError as error:
        raise BodyError("content_encoding", str(error), CODINGS) from error
    if len(payload) > limit:
        raise BodyError("too_large", str(len(payload)), str(limit))
    return payload


@dataclass(frozen=True)
class Decoded:
    """Characters, and the encoding (a WHATWG name) in which they were decoded."""

    text: str
    encoding: str


def declared_charset(body: bytes) -> str | None:
    """The charset of a page's meta element or XML declaration."""
    head = body[:META_BYTES]
    match = _XML.match(head) or _META.search(head)
    return match.group(1).decode("ascii") if match else None


def decode_characters(body: bytes, charset: str | None = None) -> Decoded:
    """Decode a page's bytes.

    The encoding is determined in this order: a byte order mark; valid UTF-8 (text in another encoding hardly ever is,
    by chance); the HTTP header's `charset`; the page's own declaration; detection. Unknown labels are ignored. Never
    raises: bytes without a meaning in the encoding become U+FFFD.
    """
    for bom, name in _BOMS:
        if body.startswith(bom):
            return Decoded(body[len(bom) :].decode(name, "replace"), name)
    utf16 = _utf16_without_bom(body)
    if utf16 is not None:
        return Decoded(body.decode(utf16, "replace"), utf16)
    labels = [label for label in (charset, declared_charset(body)) if label]
    declared = [name for name in map(_encoding_of, labels) if name is not None]
    return _decode_utf8(body, declared) or _decode_declared(body, declared) or _decode_detected(body)


def _decode_utf8(body: bytes, declared: list[str]) -> Decoded | None:
    """A body that is valid UTF-8. ASCII with the escapes of a declared stateful encoding is in that encoding."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    stateful = next((name for name in declared if name in _STATEFUL), None)
    if stateful is None or not text.isascii() or ("\x1b$" not in text and "\x1b(" not in text):
        return Decoded(text, "utf-8")
    return Decoded(bytes_to_str(body, stateful, "replace"), stateful)


def _decode_declared(body: bytes, declared: list[str]) -> Decoded | None:
    """The body, decoded in the first declared encoding that is plausible."""
    for name in declared:
        if name == "utf-8":
            text = body.decode("utf-8", "replace")
            if text.count("\ufffd") <= DAMAGED_UTF8 * sum(not character.isascii() for character in text[:DETECT_BYTES]):
                return Decoded(text, "utf-8")
        elif not name.startswith("utf-16"):  # a page whose label could be read as ASCII is not UTF-16
            return Decoded(bytes_to_str(body, name, "replace"), name)
    return None


def _decode_detected(body: bytes) -> Decoded:
    name = _encoding_of(detect_encoding(body[:DETECT_BYTES]) or "") or _FALLBACK
    if name.startswith("utf-16"):
        name = _FALLBACK
    return Decoded(bytes_to_str(body, name, "replace"), name)


def _encoding_of(label: str) -> str | None:
    """The WHATWG name of the encoding that a label stands for; None for an unknown label."""
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
    """The byte order of UTF-16 without a mark, or None. In UTF-16 markup, most of every second byte is zero."""
    head = body[:_UTF16_BYTES]
    if len(head) < 16 or head.count(0) < len(head) // 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 4 * even and odd > len(head) // 5:
        return "utf-16le"
    if even > 4 * odd and even > len(head) // 5:
        return "utf-16be"
    return None
