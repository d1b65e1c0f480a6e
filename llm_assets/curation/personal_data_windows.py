"""Where personal data could be: one compiled pass over the bytes marks the few windows that regular expressions read.

A window is around an @ with a name before it and a domain after it, nine digits close together, four numbers with dots,
hexadecimal groups with colons, a number after "+", or a country code with check digits. Digits, separators and the @
may be any of the characters that stand for plain ones (`plain_characters`), and the @ may be escaped as %40.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from llm_assets.compiled import compiled, inlined

from .plain_characters import AT_SIGN, DIGIT_LIKE, DOT, IGNORED, SEPARATOR, number_characters

# Bytes of context around a window: enough for "version " before an address and for the rest of a spaced IBAN after it.
CONTEXT = 40
_MAX_NAME, _MAX_DOMAIN = 80, 256  # bytes before and after an @
_MAX_IPV6, _MAX_IBAN = 45, 48  # bytes from the first digit
_MAX_WORD = 512  # bytes by which a window grows to whole words
_AT, _PERCENT, _PLUS, _HYPHEN, _FULL_STOP, _COLON = 64, 37, 43, 45, 46, 58
_MAX_IGNORED = 16  # characters that stand for nothing, between two digits


@lru_cache(maxsize=1)
def _first_bytes() -> np.ndarray:
    """bool (256,): the bytes with which a digit, an @ or its escape begins in UTF-8."""
    first = np.zeros(256, np.bool_)
    first[_PERCENT] = True
    kinds = number_characters()
    for code in np.flatnonzero((kinds == DIGIT_LIKE) | (kinds == AT_SIGN)).tolist():
        first[chr(code).encode()[0]] = True
    return first


def find_windows(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of `n` pages (UTF-8 bytes end to end and their n + 1 offsets), in order: page, start, end (int64)."""
    size = 64 + 4 * (len(offsets) - 1)
    while True:
        pages, starts, ends = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.int64)
        count = _mark_windows(data, offsets, number_characters(), _first_bytes(), pages, starts, ends)
        if count >= 0:
            return pages[:count], starts[:count], ends[:count]
        size *= 4


@compiled
def _mark_windows(data, offsets, kinds, starts_window, pages, starts, ends):  # type: ignore[no-untyped-def]
    """Fill the arrays; returns the number of windows, or -1 where the arrays are too short."""
    count = 0
    for page in range(len(offsets) - 1):
        first, last = offsets[page], offsets[page + 1]
        window_start, window_end = -1, -1
        at = first
        while at < last:
            byte = data[at]
            if not starts_window[byte]:
                at += 1
                continue
            start, end = -1, -1
            if byte == _AT:
                start, end = _mail_window(data, at, at + 1, first, last)
            elif 48 <= byte <= 57:
                start, end, at = _digits_window(data, at, first, last, kinds)
            elif byte == _PERCENT:
                if at + 2 < last and data[at + 1] == 52 and data[at + 2] == 48:
                    start, end = _mail_window(data, at, at + 3, first, last)
            else:
                kind, after = _kind_at(data, at, last, kinds)
                if kind == DIGIT_LIKE:
                    start, end, at = _digits_window(data, at, first, last, kinds)
                elif kind == AT_SIGN:
                    start, end = _mail_window(data, at, after, first, last)
            if start >= 0:
                if window_end >= 0 and start - CONTEXT <= window_end + CONTEXT:
                    window_end = max(window_end, end)
                else:
                    count = _record(data, page, first, last, window_start, window_end, pages, starts, ends, count)
                    if count < 0:
                        return -1
                    window_start, window_end = start, end
            at += 1
        count = _record(data, page, first, last, window_start, window_end, pages, starts, ends, count)
        if count < 0:
            return -1
    return count


@compiled
def _mail_window(data, at, end, first, last):  # type: ignore[no-untyped-def]
    """The window of a possible e-mail address around the @ in bytes [at, end), or (-1, -1)."""
    dotted, position = False, end
    while position < last and position - at < _MAX_DOMAIN and _in_domain(data[position]):
        # A dot counts between a name and a letter. Other characters than ASCII could be one, too.
        dotted = dotted or (
            data[position] == _FULL_STOP
            and position > end
            and position + 1 < last
            and 97 <= data[position + 1] | 32 <= 122
        )
        dotted = dotted or data[position] >= 0x80
        position += 1
    if not dotted or at <= first or data[at - 1] <= 32:
        return -1, -1
    start = at
    while start > first and at - start < _MAX_NAME and data[start - 1] > 32:
        start -= 1
    return start, position


@compiled
def _in_domain(byte):  # type: ignore[no-untyped-def]
    return byte in (_HYPHEN, _FULL_STOP) or 48 <= byte <= 57 or 97 <= byte | 32 <= 122 or byte >= 0x80


@inlined
def _kind_at(data, position, last, kinds):  # type: ignore[no-untyped-def]
    """The kind of the character at `position` (see `plain_characters`), and where the next one begins."""
    byte = np.uint32(data[position])
    code, size = byte, 1
    if byte >= 0xF0 and position + 3 < last:
        code = (byte & 0x07) << 18 | (np.uint32(data[position + 1]) & 0x3F) << 12
        code |= (np.uint32(data[position + 2]) & 0x3F) << 6 | np.uint32(data[position + 3]) & 0x3F
        size = 4
    elif byte >= 0xE0 and position + 2 < last:
        code = (byte & 0x0F) << 12 | (np.uint32(data[position + 1]) & 0x3F) << 6
        code |= np.uint32(data[position + 2]) & 0x3F
        size = 3
    elif byte >= 0xC0 and position + 1 < last:
        code = (byte & 0x1F) << 6 | np.uint32(data[position + 1]) & 0x3F
        size = 2
    kind = kinds[code] if code < len(kinds) else np.uint8(0)
    return kind, position + size


@compiled
def _digits_window(data, at, first, last, kinds):  # type: ignore[no-untyped-def]
    """The window of a possible number or address that begins with the digit at `at`, or (-1, -1).

    Also returns where the scan continues.

    A cluster is digits with at most three of " ()+-./" between two of them.
    """
    digits, dots, gap, ignored, cluster_end = 0, 0, 0, 0, at
    position = at
    while position < last and gap <= 3 and ignored <= _MAX_IGNORED:
        kind, after = _kind_at(data, position, last, kinds)
        if kind == DIGIT_LIKE:
            digits += 1
            gap, ignored = 0, 0
            cluster_end = after
        elif kind in (SEPARATOR, DOT):
            gap += 1
            dots += kind == DOT
        elif kind == IGNORED:
            ignored += 1
        else:
            break
        position = after
    start, end = -1, -1
    country_code = at >= first + 2 and 65 <= data[at - 1] <= 90 and 65 <= data[at - 2] <= 90
    if (
        digits >= 9
        or (dots >= 3 and digits >= 4)
        or (digits >= 7 and _after_plus(data, at, first))
        or (country_code and digits >= 2)
    ):
        # In an IBAN letters follow, too.
        start, end = at, min(last, at + _MAX_IBAN) if country_code else cluster_end
    elif (data[at] == 50 or data[at] == 51) and at + 5 < last and data[at + 4] == _COLON:
        # Hexadecimal groups with colons: an IPv6 address begins with 2 or 3.
        start, end = at, min(last, at + _MAX_IPV6)
    return start, end, max(at, cluster_end - 1)


@compiled
def _after_plus(data, at, first):  # type: ignore[no-untyped-def]
    """Whether a plus sign, of plain, small or full width, precedes `at`."""
    if at > first and data[at - 1] == _PLUS:
        return True
    if at < first + 3 or data[at - 3] != 0xEF:
        return False
    return (data[at - 2] == 0xBC and data[at - 1] == 0x8B) or (data[at - 2] == 0xB9 and data[at - 1] == 0xA2)


@compiled
def _record(data, page, first, last, start, end, pages, starts, ends, count):  # type: ignore[no-untyped-def]
    """Add a window of a page (none where `end` is negative), widened, but not into the window before it.

    Returns the new number of windows, or -1 where there is no room. The parameters are many because a kernel takes
    its arrays one by one.
    """
    if end < 0:
        return count
    if count == len(pages):
        return -1
    earliest = ends[count - 1] if count > 0 and pages[count - 1] == page else first
    pages[count] = page
    starts[count], ends[count] = _widen(data, earliest, last, start, end)
    return count + 1


@compiled
def _widen(data, first, last, start, end):  # type: ignore[no-untyped-def]
    """A window with its context, grown to whole words of up to 512 bytes, and in any case to whole characters.

    A part of a word could look like personal data.
    """
    start, end = max(first, start - CONTEXT), min(last, end + CONTEXT)
    for _ in range(_MAX_WORD):
        if start > first and data[start - 1] > 32:
            start -= 1
        if end < last and data[end] > 32:
            end += 1
    while start > first and data[start] & 0xC0 == 0x80:
        start -= 1
    while end < last and data[end] & 0xC0 == 0x80:
        end += 1
    return start, end
