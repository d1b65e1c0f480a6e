"""Personal data in text: found, validated, and replaced by typed placeholders.

Regular expressions look only at the windows of a text in which anything could be (`personal_data_windows`), and
validators decide: `ipaddress` (public addresses), python-stdnum (US social security numbers, Luhn, IBAN, ISBN),
phonenumbers (Google's libphonenumber), and the public suffix list (mail domains, in `mail_addresses`).

All matches are found on the original text, and again with plain characters for typographic ones (`plain_characters`).
Where two overlap, the longer wins, then the earlier in KINDS; then all are replaced at once. So the result does not
depend on the order of the kinds in the recipe, and scrubbing again finds nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import phonenumbers
import polars as pl
import stdnum.iban
import stdnum.isbn
import stdnum.luhn
import stdnum.us.ssn

from llm_assets.recipes import PII_TYPES

from .mail_addresses import find_addresses
from .personal_data_windows import find_windows
from .plain_characters import plain_texts
from .text_buffers import utf8_buffers

KINDS = PII_TYPES
_MIN_IBAN = 15  # characters


@dataclass(frozen=True)
class Match:
    """Characters [start, end) of a text. The matched text itself is never kept."""

    start: int
    end: int
    kind: str


_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])", re.ASCII)
_SSN = re.compile(r"(?<![\w.-])(?<!\d )\d{3}([- ])\d{2}\1\d{4}(?![\w-]|\.\d| \d)", re.ASCII)
_CARD = re.compile(
    r"(?<![\w.,-])(?<!\d )(?:\d{4}([ .-]?)\d{4}\1\d{4}\1\d{1,7}|\d{4}([ .-]?)\d{6}\2\d{4,5})(?![\w-]|[.,]\d| \d)",
    re.ASCII,
)
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"
)
_PHONE = re.compile(
    r"(?<![\w.,/=&?#-])(?<!\d )(?:"
    r"\+\d{1,3}(?:[ .()/-]{0,3}\d){6,14}"  # international
    r"|(?:1[ .-])?\(\d{2,5}\) ?\d{2,4}(?:[ .-]\d{2,5}){1,3}"  # (area) …
    r"|\(0\d{1,4}\)[ ./-]?\d{4,8}"  # (national prefix and area) …
    r"|(?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4}"  # North American
    r"|0\d{1,4}(?:[ ./-]\d{2,8}){1,5}"  # national prefix 0
    r")(?![\w-]|[.,:/]\d| \d)",
    re.ASCII,
)
# What versions and the numbers of sections are called, in the languages that have a preset of their own and in French.
_VERSION_BEFORE = re.compile(
    r"(?:\bv|\bver|\brelease|\bfirmware|\bbuild|\brevision|\bmozilla/|\bchrome/|§"
    r"|\b(?:version|section|chapter|clause|paragraph|article|figure|table|appendix)s?|\bfig|\bsec"
    r"|\b(?:version|abschnitt|kapitel|absatz|ziffer|artikel|tabelle)e?n?s?|\babb(?:ildung(?:en)?)?|\bkap|\babs"
    r"|\b(?:versi[oó]n|secci[oó]n|revisi[oó]n)(?:es)?|\b(?:cap[ií]tulo|apartado|art[ií]culo|cl[aá]usula|tabla|figura)s?"
    r"|\b(?:r[eé]vision|chapitre|alin[eé]a|tableau|annexe)[sx]?"
    r"|版本|版|第|章节|章節|章|节|節|表|图|圖)"
    r"[.:：\s(（]*$",
    re.IGNORECASE,
)
_ISBN_BEFORE = re.compile(r"(?:ISBN|ISSN|DOI|EAN|SKU|part no|order)[\w\s.:#-]{0,8}$", re.IGNORECASE)
_DATE = re.compile(r"(?:19|20)\d\d[ ./-][01]?\d[ ./-][0-3]?\d(?!\d)|[0-3]?\d[ ./-][01]?\d[ ./-](?:19|20)\d\d(?!\d)")
# A numbered heading: digits like an address at the start of a line, the first of them small, then a word.
_HEADING_AFTER = re.compile(r"\.? +[^\W\d]|\. +\S")
_MAX_HEADING = 20
# Issuers' number ranges (ISO/IEC 7812; Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay).
_ISSUERS = re.compile(
    r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|6011|65|64[4-9]|35(?:2[89]|[3-8])|30[0-5]|3[689]|62"
)


def _after_version(text: str, start: int) -> bool:
    """Whether a word such as "version" or "section" precedes `start`."""
    return _VERSION_BEFORE.search(text, max(0, start - 16), start) is not None


def _after_isbn(text: str, start: int) -> bool:
    """Whether a word such as "ISBN" or "order" precedes `start`."""
    return _ISBN_BEFORE.search(text, max(0, start - 20), start) is not None


def _emails(text: str, region: str) -> Iterator[tuple[int, int]]:
    return find_addresses(text)


def _addresses(text: str, region: str) -> Iterator[tuple[int, int]]:
    # Counting is much cheaper than the expressions, and most texts have too few separators for an address.
    fourth = _IPV4.finditer(text) if text.count(".") >= 3 else ()
    sixth = _IPV6.finditer(text) if text.count(":") >= 2 else ()
    for match in (*fourth, *sixth):
        start, end = match.span()
        try:
            address = ipaddress.ip_address(match.group())
        except ValueError:
            continue
        if not address.is_global or address.is_multicast or _after_version(text, start):
            continue
        starts_line = start == 0 or text[start - 1] == "\n"
        numbered = address.version == 4 and starts_line and int(match.group().split(".")[0]) < _MAX_HEADING
        if numbered and _HEADING_AFTER.match(text, end):
            continue
        yield start, end


def _ssns(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in _SSN.finditer(text):
        if stdnum.us.ssn.is_valid(match.group().replace(" ", "-")) and not _after_isbn(text, match.start()):
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
        candidate = match.group()
        # The expression may have taken a word too many: "DE89 … 00 and".
        while len(candidate) >= _MIN_IBAN:
            if stdnum.iban.is_valid(candidate):
                yield match.start(), match.start() + len(candidate)
                break
            last_separator = max(candidate.rfind(" "), candidate.rfind("-"))
            if last_separator < 0:
                break
            candidate = candidate[:last_separator]


def _phones(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in _PHONE.finditer(text):
        candidate, start = match.group(), match.start()
        if _DATE.search(candidate) or _after_isbn(text, start) or _after_version(text, start):
            continue
        if candidate.count(".") == 3 and _IPV4.fullmatch(candidate):
            continue
        is_isbn = candidate.count("-") >= 3 and stdnum.isbn.is_valid(candidate)
        if _is_phone_number(candidate, region) and not is_isbn:
            yield match.span()


def _is_phone_number(text: str, region: str) -> bool:
    """Whether a text is a number of the region, or an international one, which most countries dial with 00."""
    texts = [text, f"+{text[2:]}"] if text.startswith("00") else [text]
    for candidate in texts:
        with contextlib.suppress(phonenumbers.NumberParseException):
            if phonenumbers.is_valid_number(phonenumbers.parse(candidate, region)):
                return True
    return False


_FINDERS: dict[str, Callable[[str, str], Iterator[tuple[int, int]]]] = {
    "email": _emails,
    "ip_address": _addresses,
    "ssn": _ssns,
    "credit_card": _cards,
    "phone": _phones,
    "iban": _ibans,
}


def _candidates(text: str, region: str) -> Iterator[Match]:
    """The matches of every kind, which may overlap."""
    for kind in KINDS:
        if kind != "email" or "@" in text:
            for start, end in _FINDERS[kind](text, region):
                yield Match(start, end, kind)


def find(text: str, kinds: Sequence[str] = KINDS, region: str = "US") -> list[Match]:
    """Matches in a text, in order, without overlaps: of two that overlap the longer wins, then the earlier in KINDS.

    region: ISO 3166 region in which national phone numbers are read.
    """
    candidates = list(_candidates(text, region))
    for plain in plain_texts(text):
        candidates += [Match(*plain.original(m.start, m.end), m.kind) for m in _candidates(plain.text, region)]
    if not candidates:
        return []
    chosen: list[Match] = []  # in order of their starts
    for match in sorted(candidates, key=lambda m: (m.start - m.end, KINDS.index(m.kind), m.start)):
        place = bisect_left(chosen, match.end, key=lambda m: m.start)  # the chosen before it start before its end
        if place == 0 or chosen[place - 1].end <= match.start:
            chosen.insert(place, match)
    # A kind that is not wanted still settles overlaps, so that leaving it out reveals nothing else.
    return [match for match in chosen if match.kind in kinds]


def scrub(
    texts: pl.Series, kinds: Sequence[str], placeholders: dict[str, str], region: str
) -> tuple[pl.Series, pl.DataFrame]:
    """The texts with placeholders for personal data, and how many of each kind (columns KINDS, int64) each text has."""
    data, offsets = utf8_buffers(texts)
    pages, starts, ends = (array.tolist() for array in find_windows(data, offsets))
    counts = {kind: np.zeros(len(texts), np.int64) for kind in KINDS}
    pieces: dict[int, list[bytes]] = {}  # of each changed text, up to its last window with a match
    copied: dict[int, int] = {}  # byte up to which each has been copied
    for page, start, end in zip(pages, starts, ends, strict=True):
        window = data[start:end].tobytes().decode("utf-8")
        matches = find(window, kinds, region)
        if not matches:
            continue
        page_pieces = pieces.setdefault(page, [])
        page_pieces.append(data[copied.get(page, int(offsets[page])) : start].tobytes())
        done = 0
        for match in matches:
            page_pieces.append(window[done : match.start].encode())
            page_pieces.append(placeholders[match.kind].encode())
            counts[match.kind][page] += 1
            done = match.end
        page_pieces.append(window[done:].encode())
        copied[page] = end
    count_columns = pl.DataFrame(counts)
    if not pieces:
        return texts, count_columns
    changed = [
        b"".join([*page_pieces, data[copied[page] : offsets[page + 1]].tobytes()]).decode("utf-8")
        for page, page_pieces in pieces.items()
    ]
    return texts.clone().scatter(pl.Series(list(pieces), dtype=pl.UInt32), pl.Series(changed)), count_columns


def scrub_for_display(frame: pl.DataFrame, region: str = "US") -> pl.DataFrame:
    """A frame to be shown (a preview, failing rows), with the personal data in all its text columns replaced."""
    placeholders = {kind: f"<{kind.upper()}>" for kind in KINDS}
    for name, dtype in frame.schema.items():
        if dtype == pl.String:
            scrubbed, _ = scrub(frame[name], KINDS, placeholders, region)
            frame = frame.with_columns(scrubbed.alias(name))
    return frame
