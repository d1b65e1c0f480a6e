"""From a stored payload to characters: transfer and content coding first, then the character encoding.

Output is bounded in bytes.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

from resiliparse.parse.encoding import detect_encoding

from llm_assets.warc import CODINGS, GZIP_MAGIC, ContentCodingError, TooLarge, decode_coding, decode_http_body

from .web_encodings import STATEFUL, decode, encoding_name, name_of_detected

_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]{1,40})""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([a-zA-Z0-9_:.-]{1,40})""")
# The HTML standard looks for a declaration in the first 1,024 bytes; real pages push it further down with scripts.
META_BYTES = 4_096
DETECT_BYTES = 131_072
# In a page in UTF-8, up to this share of the non-ASCII characters may be invalid: they count as damage.
DAMAGED_UTF8 = 0.1
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
_UTF16 = frozenset(["utf-16le", "utf-16be"])
_FALLBACK = "windows-1252"
_KANA, _HANGUL = re.compile("[\u3041-\u30ff]"), re.compile("[\uac00-\ud7a3]")
# Encodings, and the least share of a script among the letters beyond ASCII. Chinese in GBK, read as EUC-KR, is Hangul
# to about 60 %.
_SCRIPTS = (("shift_jis", _KANA, 0.25), ("euc-jp", _KANA, 0.25), ("euc-kr", _HANGUL, 0.85))
_DAMAGED_MULTIBYTE = 0.02  # of those letters, that may be invalid
_KOI8_U_LETTERS = re.compile(rb"[\xa4\xa6\xa7\xad\xb4\xb6\xb7\xbd]")  # box drawing in KOI8-R
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
    try:
        payload = decode_http_body(payload, headers, limit)
        if payload.startswith(GZIP_MAGIC):  # compressed twice, or without saying so; no page begins with these bytes
            payload = decode_coding(payload, "gzip", limit)
    except TooLarge as error:
        raise BodyError("too_large", str(error), str(limit)) from error
    except ContentCodingError as error:
        raise BodyError("content_encoding", str(error), CODINGS) from error
    if len(payload) > limit:
        raise BodyError("too_large", str(len(payload)), str(limit))
    return payload


@dataclass(frozen=True)
class Decoded:
    """Characters, the encoding (a WHATWG name) in which they were decoded, and whether the bytes are valid UTF-8."""

    text: str
    encoding: str
    is_utf8: bool = field(default=False, compare=False)


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
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_declared(body, _declared_encodings(body, charset)) or _decode_detected(body)
    if text.isascii() and (b"\x1b" in body or (charset or "").startswith("hz") or b"hz-gb" in body[:META_BYTES]):
        for name in _declared_encodings(body, charset):
            if name in STATEFUL:
                return Decoded(decode(body, name), name)
    return Decoded(text, "utf-8", is_utf8=True)


def _declared_encodings(body: bytes, charset: str | None) -> list[str]:
    """The encodings that the HTTP header and the page declare, in this order."""
    header = encoding_name(charset) if charset else None
    label = declared_charset(body)
    page = encoding_name(label) if label else None
    # A declaration that was read as ASCII is not in UTF-16 (HTML standard, "prescan a byte stream").
    page = "utf-8" if page in _UTF16 else "windows-1252" if page == "x-user-defined" else page
    return [name for name in (header, page) if name is not None]


def _decode_declared(body: bytes, declared: list[str]) -> Decoded | None:
    """The body, decoded in the first declared encoding that is plausible."""
    for name in declared:
        if name == "utf-8":
            if _is_damaged_utf8(body):
                return Decoded(body.decode("utf-8", "replace"), "utf-8")
        elif name not in _UTF16 or b"\0" in body[:_UTF16_BYTES]:  # markup in UTF-16 holds zero bytes
            return Decoded(decode(body, name), name)
    return None


def _decode_detected(body: bytes) -> Decoded:
    """The body, decoded in the encoding that its bytes suggest, or in Windows-1252 where they suggest none."""
    sample = body[:DETECT_BYTES]
    name = "utf-8" if _is_damaged_utf8(body) else _detect_by_script(sample) or _detect(sample)
    return Decoded(decode(body, name), name)


def _detect_by_script(sample: bytes) -> str | None:
    """An encoding of Japanese or Korean, known by its kana or Hangul.

    Text in the wrong encoding has invalid bytes or hardly any of these. The detector would miss pages with NEC's
    characters or with syllables beyond KS X 1001.
    """
    for name, script, share in _SCRIPTS:
        text = decode(sample, name)
        letters = sum(character.isalpha() and not character.isascii() for character in text)
        if text.count("\ufffd") <= _DAMAGED_MULTIBYTE * letters and len(script.findall(text)) > share * letters:
            return name
    return None


def _detect(sample: bytes) -> str:
    name = name_of_detected(detect_encoding(sample) or "")
    if name == "koi8-r" and _KOI8_U_LETTERS.search(sample):
        return "koi8-u"
    if name is None or name in _UTF16 or name == "utf-8":  # the detector's answer where nothing fits
        # Without Hong Kong's characters, which the detector does not know.
        standard = decode(sample, "big5").encode("big5", "ignore")
        return "big5" if detect_encoding(standard) == "big5" else _FALLBACK
    return name


def _is_damaged_utf8(body: bytes) -> bool:
    text = body[:DETECT_BYTES].decode("utf-8", "replace")
    return text.count("\ufffd") <= DAMAGED_UTF8 * sum(not character.isascii() for character in text)


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
