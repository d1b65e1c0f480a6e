"""Where personal data could be: one compiled pass over the bytes marks the few windows that regular expressions read.

A window is around an @ with a name before it and a domain after it, nine digits close together, four numbers with dots,
hexadecimal groups with colons, a number after "+", or a country code with check digits.
"""

from __future__ import annotations

import numpy as np

from llm_assets.compute.compiled import compiled

# Bytes of context around a window: enough for "version " before an address and for the rest of a spaced IBAN after it.
CONTEXT = 40
_MAX_NAME, _MAX_DOMAIN = 80, 256  # bytes before and after an @
_MAX_IPV6, _MAX_IBAN = 45, 48  # bytes from the first digit
_MAX_WORD = 512  # bytes by which a window grows to whole words
_AT, _PLUS, _HYPHEN, _FULL_STOP, _COLON = 64, 43, 45, 46, 58


def find_windows(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of `n` pages (UTF-8 bytes end to end and their n + 1 offsets), in order: page, start, end (int64)."""
    size = 64 + 4 * (len(offsets) - 1)
    while True:
        pages, starts, ends = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.int64)
        count = _mark_windows(data, offsets, pages, starts, ends)
        if count >= 0:
            return pages[:count], starts[:count], ends[:count]
        size *= 4


@compiled
def _mark_windows(data, offsets, pages, starts, ends):  # type: ignore[no-untyped-def]
    """Fill the arrays; returns the number of windows, or -1 where the arrays are too short."""
    count = 0
    for page in range(len(offsets) - 1):
        first, last = offsets[page], offsets[page + 1]
        window_start, window_end = -1, -1
        at = first
        while at < last:
            byte = data[at]
            start, end = -1, -1
            if byte == _AT:
                start, end = _mail_window(data, at, first, last)
            elif 48 <= byte <= 57:
                start, end, at = _digits_window(data, at, first, last)
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
def _mail_window(data, at, first, last):  # type: ignore[no-untyped-def]
    """The window of a possible e-mail address around the @ at `at`, or (-1, -1)."""
    dotted, position = False, at + 1
    while position < last and position - at < _MAX_DOMAIN and _in_domain(data[position]):
        # A dot counts between a name and a letter.
        dotted = dotted or (
            data[position] == _FULL_STOP
            and position > at + 1
            and position + 1 < last
            and 97 <= data[position + 1] | 32 <= 122
        )
        position += 1
    if not dotted or at <= first or data[at - 1] <= 32:
        return -1, -1
    start = at
    while start > first and at - start < _MAX_NAME and data[start - 1] > 32:
        start -= 1
    return start, position


@compiled
def _in_domain(byte):  # type: ignore[no-untyped-def]
    return byte in (_HYPHEN, _FULL_STOP) or 48 <= byte <= 57 or 97 <= byte | 32 <= 122


@compiled
def _digits_window(data, at, first, last):  # type: ignore[no-untyped-def]
    """The window of a possible number or address that begins with the digit at `at`, or (-1, -1).

    Also returns where the scan continues.

    A cluster is digits with at most three of " ()+-./" between two of them.
    """
    digits, dots, gap, cluster_end = 0, 0, 0, at
    position = at
    while position < last and gap <= 3:
        byte = data[position]
        if 48 <= byte <= 57:
            digits += 1
            gap = 0
            cluster_end = position + 1
        elif byte == 32 or 40 <= byte <= 41 or byte == _PLUS or 45 <= byte <= 47:
            gap += 1
            dots += byte == _FULL_STOP
        else:
            break
        position += 1
    start, end = -1, -1
    country_code = at >= first + 2 and 65 <= data[at - 1] <= 90 and 65 <= data[at - 2] <= 90
    if (
        digits >= 9
        or (dots >= 3 and digits >= 4)
        or (digits >= 7 and at > first and data[at - 1] == _PLUS)
        or (country_code and digits >= 2)
    ):
        # In an IBAN letters follow, too.
        start, end = at, min(last, at + _MAX_IBAN) if country_code else cluster_end
    elif (data[at] == 50 or data[at] == 51) and at + 5 < last and data[at + 4] == _COLON:
        # Hexadecimal groups with colons: an IPv6 address begins with 2 or 3.
        start, end = at, min(last, at + _MAX_IPV6)
    return start, end, max(at, cluster_end - 1)


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
