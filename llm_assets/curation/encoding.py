"""From a stored payload to characters: transfer and content coding, then the character encoding. Bounded in bytes."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

from llm_assets.warc import CODINGS, ContentCodingError, TooLarge, dechunk, decode_coding

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
    """Undo Transfer-Encoding and Content-Encoding. Archives often store a body decoded and keep the header, so text that
    is not in the stated coding is taken as it is. Raises BodyError when more than `limit` bytes come out.
    """
    if "chunked" in headers.get("transfer-encoding", "").lower():
        payload = dechunk(payload)
    codings = [coding.strip().lower() for coding in headers.get("content-encoding", "").split(",")]
    for coding in reversed([coding for coding in codings if coding]):
        try:
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
