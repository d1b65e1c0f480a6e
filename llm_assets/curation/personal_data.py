"""Personal data in text: found, validated, replaced by typed placeholders.

Compiled code marks the few windows of a text in which anything could be (an @ with a name before it, nine digits close
together, four numbers with dots, hexadecimal groups with colons, a country code and check digits). Regular expressions
look at those windows only, and validators decide: `ipaddress` (public addresses), python-stdnum (US social security
numbers, Luhn, IBAN, ISBN), phonenumbers (Google's libphonenumber), the public suffix list (mail domains).

All matches are found on the text as it came; overlapping ones are settled by length, then by the order of KINDS; then all
are replaced at once. So the result does not depend on the order of the kinds in the recipe, and scrubbing again finds
nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import phonenumbers
import polars as pl
import stdnum.iban
import stdnum.isbn
import stdnum.luhn
import stdnum.us.ssn

from llm_assets.compute.compiled import compiled
from llm_assets.recipes import PII_TYPES

from .text_buffers import utf8_buffers

KINDS = PII_TYPES
# Context around a window, bytes: enough for "version " before an address and for the rest of a spaced IBAN after it.
CONTEXT = 40
MOST_MAIL = 320  # characters of an address (RFC 5321: 64 + @ + 255)


@dataclass(frozen=True)
class Match:
    """Characters [start, end) of a text. The matched text itself is never kept."""

    start: int
    end: int
    kind: str


_EMAIL = re.compile(
    r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63})(?![\w-])",
    re.ASCII,
)
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])")
_SSN = re.compile(r"(?<![\w.-])(?<!\d )\d{3}([- ])\d{2}\1\d{4}(?![\w-]|\.\d| \d)", re.ASCII)
_CARD = re.compile(
    r"(?<![\w.,-])(?<!\d )(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -]?)\d{6}\2\d{4,5})(?![\w-]|[.,]\d| \d)",
    re.ASCII,
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])")
_PHONE = re.compile(
    r"(?<![\w.,/=&?#-])(?<!\d )(?:"
    r"\+\d{1,3}(?:[ .()/-]{0,3}\d){6,14}"  # international
    r"|(?:1[ .-])?\(\d{2,5}\) ?\d{2,4}(?:[ .-]\d{2,5}){1,3}"  # (area) …
    r"|(?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4}"  # North American
    r"|0\d{1,4}(?:[ ./-]\d{2,8}){1,5}"  # national prefix 0
    r")(?![\w-]|[.,:/]\d| \d)",
    re.ASCII,
)
_VERSION_BEFORE = re.compile(
    r"(?:\bv|\bver|\bversions?|\brelease|\bfirmware|\bbuild|\brevision|\bsections?|\bchapters?|§|\bmozilla/|\bchrome/)[.:\s(]*$",
    re.IGNORECASE,
)
_ISBN_BEFORE = re.compile(r"(?:ISBN|ISSN|DOI|EAN|SKU|part no|order)[\w\s.:#-]{0,8}$", re.IGNORECASE)
_DATE = re.compile(r"(?:19|20)\d\d[ ./-][01]?\d[ ./-][0-3]?\d(?!\d)|[0-3]?\d[ ./-][01]?\d[ ./-](?:19|20)\d\d(?!\d)")
# A numbered heading: address-like digits at the start of a line, small ones, then a word.
_HEADING_AFTER = re.compile(r"\.? +[^\W\d]|\. +\S")
# Issuers' number ranges (ISO/IEC 7812; Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay).
_ISSUERS = re.compile(
    r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|6011|65|64[4-9]|35(?:2[89]|[3-8])|30[0-5]|3[689]|62"
)
_RESERVED = (
    "example",
    "test",
    "invalid",
    "localhost",
    "local",
    "internal",
)  # RFC 2606, RFC 6762: no public suffix, but mail-like


@lru_cache(maxsize=1)
def _suffixes() -> Callable[[str], str]:
    import tldextract

    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    return lru_cache(maxsize=4096)(lambda domain: extract(domain).suffix)


def _emails(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in _EMAIL.finditer(text):
        domain = match.group(1).lower()
        if match.end() - match.start() <= MOST_MAIL and (
            "." in domain and (_suffixes()(domain) or domain.rsplit(".", 1)[1] in _RESERVED)
        ):
            yield match.span()


def _addresses(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in (*_IPV4.finditer(text), *_IPV6.finditer(text)):
        start, end = match.span()
        try:
            address = ipaddress.ip_address(match.group())
        except ValueError:
            continue
        if not address.is_global or address.is_multicast or _VERSION_BEFORE.search(text, max(0, start - 16), start):
            continue
        line_start = start == 0 or text[start - 1] == "\n"
        if (
            address.version == 4
            and line_start
            and int(match.group().split(".")[0]) < 20
            and _HEADING_AFTER.match(text, end)
        ):
            continue
        yield start, end


def _ssns(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in _SSN.finditer(text):
        if stdnum.us.ssn.is_valid(match.group().replace(" ", "-")) and not _ISBN_BEFORE.search(
            text, max(0, match.start() - 20), match.start()
        ):
            yield match.span()


def _cards(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if 13 <= len(digits) <= 19 and _ISSUERS.match(digits) and stdnum.luhn.is_valid(digits) and len(set(digits)) > 1:
            if len(digits) == 13 and stdnum.isbn.is_valid(digits):
                continue
            yield match.span()


def _ibans(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN.finditer(text):
        found = match.group()
        # The expression may have taken a word too many: "DE89 … 00 and".
        while len(found) >= 15:
            if stdnum.iban.is_valid(found):
                yield match.start(), match.start() + len(found)
                break
            cut = found.rfind(" ")
            if cut < 0:
                break
            found = found[:cut]


def _phones(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in _PHONE.finditer(text):
        found = match.group()
        if (
            _DATE.search(found)
            or _ISBN_BEFORE.search(text, max(0, match.start() - 20), match.start())
            or _VERSION_BEFORE.search(text, max(0, match.start() - 16), match.start())
        ):
            continue
        if found.count(".") == 3 and _IPV4.fullmatch(found):
            continue
        try:
            number = phonenumbers.parse(found, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number) and not (found.count("-") >= 3 and stdnum.isbn.is_valid(found)):
            yield match.span()


_FINDERS: dict[str, Callable[[str, str], Iterator[tuple[int, int]]]] = {
    "email": _emails,
    "ip_address": _addresses,
    "ssn": _ssns,
    "credit_card": _cards,
    "phone": _phones,
    "iban": _ibans,
}


def find(text: str, kinds: Sequence[str] = KINDS, region: str = "US") -> list[Match]:
    """Matches in a text, in order, none overlapping: where two do, the longer stands, then the earlier in KINDS."""
    found = [
        Match(start, end, kind)
        for kind in KINDS
        if kind != "email" or "@" in text
        for start, end in _FINDERS[kind](text, region)
    ]
    if not found:
        return []
    chosen: list[Match] = []
    for match in sorted(found, key=lambda m: (m.start - m.end, KINDS.index(m.kind), m.start)):
        if all(match.end <= other.start or match.start >= other.end for other in chosen):
            chosen.append(match)
    # A kind that is not wanted still settles overlaps, so that leaving it out reveals nothing else.
    return sorted((match for match in chosen if match.kind in kinds), key=lambda m: m.start)


@compiled
def _widen(data, least, most, start, end):  # type: ignore[no-untyped-def]
    """A window with its context, to whole words (a cut word could look like another thing) of up to 512 bytes, and in
    any case to whole characters.
    """
    start, end = max(least, start - CONTEXT), min(most, end + CONTEXT)
    for _ in range(512):
        if start > least and data[start - 1] > 32:
            start -= 1
        if end < most and data[end] > 32:
            end += 1
    while start > least and data[start] & 0xC0 == 0x80:
        start -= 1
    while end < most and data[end] & 0xC0 == 0x80:
        end += 1
    return start, end


@compiled
def _record(data, page, first, last, start, end, pages, starts, ends, count):  # type: ignore[no-untyped-def]
    """Add a window of a page, widened but not into the one before it; the new number, or -1 where there is no room."""
    if count == len(pages):
        return -1
    least = ends[count - 1] if count > 0 and pages[count - 1] == page else first
    pages[count] = page
    starts[count], ends[count] = _widen(data, least, last, start, end)
    return count + 1


@compiled
def _windows(data, offsets, pages, starts, ends):  # type: ignore[no-untyped-def]
    """Byte windows worth a look, in order; returns their number, or -1 where the arrays are too short."""
    count = 0
    for page in range(len(offsets) - 1):
        first, last = offsets[page], offsets[page + 1]
        window_start, window_end = -1, -1
        at = first
        while at < last:
            byte = data[at]
            start, end = -1, -1
            if byte == 64:  # @
                dotted, position = False, at + 1
                while (
                    position < last
                    and position - at < 256
                    and (
                        data[position] == 45
                        or data[position] == 46
                        or 48 <= data[position] <= 57
                        or 97 <= data[position] | 32 <= 122
                    )
                ):
                    dotted = dotted or (
                        data[position] == 46
                        and position > at + 1
                        and position + 1 < last
                        and 97 <= data[position + 1] | 32 <= 122
                    )
                    position += 1
                if dotted and at > first and data[at - 1] > 32:
                    start, end = at, position
                    while start > first and at - start < 80 and data[start - 1] > 32:
                        start -= 1
            elif 48 <= byte <= 57:
                # A cluster: digits with at most three of " ()+-./:" or, in groups, letters between (an IBAN).
                digits, dots, run, end_of_cluster = 0, 0, 0, at
                position = at
                while position < last and run <= 3:
                    code = data[position]
                    if 48 <= code <= 57:
                        digits += 1
                        run = 0
                        end_of_cluster = position + 1
                    elif code == 32 or 40 <= code <= 41 or code == 43 or 45 <= code <= 47:
                        run += 1
                        dots += code == 46
                    else:
                        break
                    position += 1
                letters = at >= first + 2 and 65 <= data[at - 1] <= 90 and 65 <= data[at - 2] <= 90
                if (
                    digits >= 9
                    or (dots >= 3 and digits >= 4)
                    or (digits >= 7 and at > first and data[at - 1] == 43)
                    or (letters and digits >= 2)
                ):
                    start, end = at, end_of_cluster
                    if letters:
                        end = min(last, at + 48)
                else:
                    # Hexadecimal groups with colons: an IPv6 address begins with 2 or 3.
                    if (byte == 50 or byte == 51) and at + 5 < last and data[at + 4] == 58:
                        start, end = at, min(last, at + 45)
                at = max(at, end_of_cluster - 1)
            if start >= 0:
                if window_end >= 0 and start - CONTEXT <= window_end + CONTEXT:
                    window_end = max(window_end, end)
                else:
                    if window_end >= 0:
                        count = _record(data, page, first, last, window_start, window_end, pages, starts, ends, count)
                        if count < 0:
                            return -1
                    window_start, window_end = start, end
            at += 1
        if window_end >= 0:
            count = _record(data, page, first, last, window_start, window_end, pages, starts, ends, count)
            if count < 0:
                return -1
    return count


def scrub(
    texts: pl.Series, kinds: Sequence[str], placeholders: dict[str, str], region: str
) -> tuple[pl.Series, pl.DataFrame]:
    """The texts with placeholders for personal data, and how many of each kind (columns KINDS, int64) each text has."""
    data, offsets = utf8_buffers(texts)
    size = 64 + 4 * len(texts)
    while True:
        pages, starts, ends = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.int64)
        total = _windows(data, offsets, pages, starts, ends)
        if total >= 0:
            break
        size *= 4
    counts = {kind: np.zeros(len(texts), np.int64) for kind in KINDS}
    replaced: dict[int, list[bytes]] = {}
    copied: dict[int, int] = {}
    for page, start, end in zip(pages[:total].tolist(), starts[:total].tolist(), ends[:total].tolist(), strict=True):
        window = data[start:end].tobytes().decode("utf-8")
        matches = find(window, kinds, region)
        if not matches:
            continue
        pieces = replaced.setdefault(page, [])
        done = 0
        pieces.append(data[copied.get(page, int(offsets[page])) : start].tobytes())
        for match in matches:
            pieces.append(window[done : match.start].encode())
            pieces.append(placeholders[match.kind].encode())
            counts[match.kind][page] += 1
            done = match.end
        pieces.append(window[done:].encode())
        copied[page] = end
    table = pl.DataFrame(counts)
    if not replaced:
        return texts, table
    changed = {
        page: b"".join([*pieces, data[copied[page] : offsets[page + 1]].tobytes()]).decode("utf-8")
        for page, pieces in replaced.items()
    }
    places = pl.Series(list(changed), dtype=pl.UInt32)
    return texts.clone().scatter(places, pl.Series(list(changed.values()))), table


def scrub_for_display(frame: pl.DataFrame, region: str = "US") -> pl.DataFrame:
    """A frame to be shown (a preview, failing rows): no column of text tells any personal data."""
    for name, kind in frame.schema.items():
        if kind == pl.String:
            frame = frame.with_columns(
                scrub(frame[name], KINDS, {kind: f"<{kind.upper()}>" for kind in KINDS}, region)[0].alias(name)
            )
    return frame
