"""Encodings as the web means them: the names, labels and decoders of the WHATWG encoding standard.

Labels and most decoders come from `webencodings`. Python's codecs of some names lack characters that browsers decode,
so this module adds those of https://encoding.spec.whatwg.org/: NEC's and IBM's characters in EUC-JP and ISO-2022-JP,
C1 controls in the Windows code pages, and what an invalid sequence consumes.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

import webencodings

REPLACEMENT = "replacement"  # encodings that browsers refuse to decode, such as ISO-2022-KR
# Encodings whose bytes are ASCII, with shifts that begin with an escape or "~{".
STATEFUL = frozenset(["iso-2022-jp", REPLACEMENT])
_GB18030 = frozenset(["gbk", "gb18030"])  # they share one decoder
_MULTIBYTE_ERRORS, _SINGLE_BYTE_ERRORS, _EUC_JP_ERRORS = "web-multibyte", "web-single-byte", "web-euc-jp"
_MULTIBYTE = frozenset(["shift_jis", "euc-kr", "big5"]) | _GB18030
# KOI8-U as browsers have it holds the letter of Belarusian, where RFC 2319 has box drawing.
_KOI8_U = str.maketrans({"\u255d": "\u045e", "\u256c": "\u040e"})
_TO_EIGHT_BITS = bytes(min(byte | 0x80, 0xFF) for byte in range(256))
# Segments of ISO-2022-JP: JIS X 0208, JIS X 0212, half-width katakana, ASCII and Roman.
_SEGMENT = re.compile(rb"\x1b(\$[@B]|\$\(D|\(I|\([BJ])([^\x1b]*)")
_KANJI_PAIR = re.compile(rb"[\x21-\x7e]{2}")
_DETECTED_NAMES = (("euc_", "euc-"), ("iso2022_jp", "iso-2022-jp"), ("mac-roman", "macintosh"), ("utf-16-", "utf-16"))


def encoding_name(label: str) -> str | None:
    """The WHATWG name, in lower case, of the encoding that a label stands for; None for an unknown label."""
    encoding = webencodings.lookup(label)
    return encoding.name if encoding else None


def name_of_detected(python_name: str) -> str | None:
    """The WHATWG name of an encoding that resiliparse's detector names as Python does."""
    for python_part, web_part in _DETECTED_NAMES:
        python_name = python_name.replace(python_part, web_part)
    return encoding_name(python_name)


def decode(body: bytes, name: str) -> str:
    """Decode bytes in an encoding of the standard. Never raises: what has no meaning becomes U+FFFD."""
    if name == REPLACEMENT:
        return "\ufffd" if body else ""
    if name == "iso-2022-jp":
        body, name = _as_euc_jp(body), "euc-jp"
    if name == "euc-jp":
        return body.decode("euc_jp", _EUC_JP_ERRORS).translate(_jis_differences())
    if name in _GB18030:
        return body.decode("gb18030", _MULTIBYTE_ERRORS)
    encoding = webencodings.lookup(name)
    if encoding is None:
        raise LookupError(f"{name} is no encoding of the WHATWG standard")
    if name.startswith("utf-") or name == "x-user-defined":
        return encoding.codec_info.decode(body, "replace")[0]
    errors = _MULTIBYTE_ERRORS if name in _MULTIBYTE else _SINGLE_BYTE_ERRORS
    text = encoding.codec_info.decode(body, errors)[0]
    return text.translate(_KOI8_U) if name == "koi8-u" else text


def _multibyte_error(error: UnicodeError) -> tuple[str, int]:
    """An invalid pair becomes one U+FFFD; an ASCII byte after a lead byte stays what it is."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    body, at = error.object, error.start
    if body[at] == 0x80:  # the euro sign of Windows code page 936, and a control elsewhere
        return "\u20ac" if error.encoding == "gb18030" else "\x80", at + 1
    is_pair = at + 1 < len(body) and 0x81 <= body[at] <= 0xFE and body[at + 1] >= 0x80
    return "\ufffd", at + (2 if is_pair else 1)


def _single_byte_error(error: UnicodeError) -> tuple[str, int]:
    """Bytes 0x80 to 0x9F that Microsoft's tables leave open are C1 controls."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    byte = error.object[error.start]
    return chr(byte) if byte < 0xA0 else "\ufffd", error.start + 1


def _euc_jp_error(error: UnicodeError) -> tuple[str, int]:
    """A pair that Python's EUC-JP lacks, such as a circled number, is looked up in Windows-31J."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    pair = error.object[error.start : error.start + 2]
    if len(pair) == 2 and min(pair) >= 0xA1 and max(pair) <= 0xFE:
        return _windows_31j(pair[0] - 0xA0, pair[1] - 0xA0) or "\ufffd", error.start + 2
    return _multibyte_error(error)


codecs.register_error(_MULTIBYTE_ERRORS, _multibyte_error)
codecs.register_error(_SINGLE_BYTE_ERRORS, _single_byte_error)
codecs.register_error(_EUC_JP_ERRORS, _euc_jp_error)


def _windows_31j(row: int, cell: int) -> str | None:
    """The character at a row and cell (1 to 94) of the standard's index jis0208, which is that of Windows-31J."""
    lead = (row - 1) // 2 + (0x81 if row <= 62 else 0xC1)
    trail = cell + 0x9E if row % 2 == 0 else cell + (0x3F if cell < 0x40 else 0x40)
    try:
        return bytes([lead, trail]).decode("cp932")
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=1)
def _jis_differences() -> dict[int, str]:
    """Characters of Python's EUC-JP that the standard decodes to others, such as the wave dash to a full-width tilde.

    They are all in the rows of punctuation.
    """
    differences = {}
    for cell in range(1, 95):
        for row in (1, 2):
            python_character = bytes([row + 0xA0, cell + 0xA0]).decode("euc_jp", "replace")
            web_character = _windows_31j(row, cell)
            if web_character and len(python_character) == 1 and python_character not in ("\ufffd", web_character):
                differences[ord(python_character)] = web_character
    return differences


def _as_euc_jp(body: bytes) -> bytes:
    """ISO-2022-JP as EUC-JP, which holds the same sets of characters without shifts."""
    return _SEGMENT.sub(_segment_as_euc_jp, body)


def _segment_as_euc_jp(segment: re.Match[bytes]) -> bytes:
    shift, content = segment[1], segment[2]
    if shift == b"(I":
        return b"".join(b"\x8e" + bytes([byte | 0x80]) if 0x21 <= byte <= 0x5F else bytes([byte]) for byte in content)
    if shift in (b"(B", b"(J"):
        return content
    prefix = b"\x8f" if shift == b"$(D" else b""
    return _KANJI_PAIR.sub(lambda pair: prefix + pair[0].translate(_TO_EIGHT_BITS), content)
