"""Text of a block, written byte by byte into a buffer: collapsed, broken into lines, or marked for `notation.py`."""

from __future__ import annotations

import numpy as np

from llm_assets.compute.compiled import compiled, inlined

from .notation import MARK, MARK_END, TEX

RAW = 1  # of a block's mode: it may hold references or white space beyond ASCII
_LESS, _QUOTE, _AMPERSAND, _SPACE, _NEWLINE = 60, 34, 38, 32, 10
_ALT = np.frombuffer(b' alt="', np.uint8)


@inlined
def copy_text(data, at, n, out, written, block_start, preformatted, in_link, mode):  # type: ignore[no-untyped-def]
    """Copy text up to the next "<" to out[written:], with white space collapsed unless it is preformatted.

    Returns where it ends in `data` and in `out`, its characters if it is in a link, and the block's mode.
    """
    characters = 0
    while at < n:
        byte = data[at]
        if byte == _LESS:
            break
        if byte < 0xC2:
            if (byte == _SPACE or 9 <= byte <= 13 or 28 <= byte <= 31) and not preformatted:
                at += 1
                if written == block_start or out[written - 1] == _SPACE or out[written - 1] == _NEWLINE:
                    continue
                out[written] = _SPACE
                written += 1
                characters += 1
                continue
            if byte == _AMPERSAND:
                mode |= RAW
            if byte & 0xC0 != 0x80:
                characters += 1
        else:
            characters += 1
            if not mode & RAW and at + 1 < n:
                third = data[at + 2] if at + 2 < n else np.uint8(0)
                if _is_wide_space(byte, data[at + 1], third):
                    mode |= RAW
        out[written] = byte
        written += 1
        at += 1
    return at, written, characters if in_link else 0, mode


@inlined
def _is_wide_space(first, second, third):  # type: ignore[no-untyped-def]
    """Whether bytes begin white space beyond ASCII.

    That is U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F and U+3000.
    """
    return (
        (first == 0xC2 and (second == 0x85 or second == 0xA0))
        or (first == 0xE1 and second == 0x9A and third == 0x80)
        or (first == 0xE2 and second == 0x80 and (third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF))
        or (first == 0xE2 and second == 0x81 and third == 0x9F)
        or (first == 0xE3 and second == 0x80 and third == 0x80)
    )


@inlined
def write_break(out, written, block_start, preformatted):  # type: ignore[no-untyped-def]
    """Write a line break, one for several in a row; returns where it ends."""
    if not preformatted:
        if written == block_start or out[written - 1] == _NEWLINE:
            return written
        if out[written - 1] == _SPACE:
            written -= 1
    out[written] = _NEWLINE
    return written + 1


@inlined
def is_permalink(out, start, end):  # type: ignore[no-untyped-def]
    """Whether the text of a link within the page is one sign, such as # or ¶ behind a heading or ↩ behind a note."""
    if not 0 < end - start <= 4:
        return False
    first = out[start]
    return (end - start == 1 and (first == 35 or first == 94)) or first == 0xC2 or first == 0xE2 or first == 0xF0


@inlined
def copy_marked(data, start, end, kind, out, written):  # type: ignore[no-untyped-def]
    """Write data[start:end] between marks; returns where it ends."""
    out[written], out[written + 1] = MARK, kind
    written += 2
    for at in range(start, end):
        out[written] = data[at] if data[at] != MARK and data[at] != MARK_END else _SPACE
        written += 1
    out[written] = MARK_END
    return written + 1


@compiled
def copy_alt(data, start, end, out, written):  # type: ignore[no-untyped-def]
    """Write the alternative text among the attributes data[start:end] as a formula; returns where it ends."""
    for at in range(start, end - len(_ALT)):
        matched = 0
        while matched < len(_ALT) and data[at + matched] == _ALT[matched]:
            matched += 1
        if matched == len(_ALT):
            first = last = at + len(_ALT)
            while last < end and data[last] != _QUOTE:
                last += 1
            return copy_marked(data, first, last, TEX, out, written) if last > first else written
    return written
