"""Text of a block, written byte by byte into a buffer: collapsed, broken into lines, or marked for `notation.py`."""

from __future__ import annotations

import numpy as np

from llm_assets.compiled import compiled, inlined

from .notation import MARK, MARK_END, TEX

RAW = 1  # of a block's mode: it may hold references or white space beyond ASCII
_LESS, _GREATER, _QUOTE, _AMPERSAND, _SPACE, _NEWLINE = 60, 62, 34, 38, 32, 10
_OPENING, _CLOSING = 40, 41
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


@compiled
def finish_text(out, start, end, preformatted):  # type: ignore[no-untyped-def]
    """Resolve the references in a block's text, and collapse white space beyond ASCII too, unless it is preformatted.

    Returns the offsets of the result, or -1 and -1 if a reference is left that no parser would write.
    """
    end = _resolve_references(out, start, end)
    if end < 0:
        return -1, -1
    if not preformatted:
        return start, _collapse_spaces(out, start, end)
    if _is_white_space(out, start, end):
        return start, start
    while out[start] == _NEWLINE:
        start += 1
    while out[end - 1] == _NEWLINE:
        end -= 1
    return start, end


@compiled
def _is_white_space(out, start, end):  # type: ignore[no-untyped-def]
    at = start
    while at < end:
        space = _space_bytes(out, at, end)
        if not space:
            return False
        at += space
    return True


@compiled
def _resolve_references(out, start, end):  # type: ignore[no-untyped-def]
    """Write characters in place of references; returns where they end, or -1 for one that no parser writes in text."""
    for at in range(start, end):
        if out[at] == _AMPERSAND and not _reference_bytes(out, at, end):
            return -1
    written, at = start, start
    while at < end:
        size = _reference_bytes(out, at, end) if out[at] == _AMPERSAND else 0
        if size == 6:
            out[written], out[written + 1] = 0xC2, 0xA0
            written += 2
        else:
            out[written] = (_LESS if out[at + 1] == 108 else _GREATER) if size == 4 else out[at]
            written += 1
        at += max(size, 1)
    return written


@inlined
def _reference_bytes(out, at, end):  # type: ignore[no-untyped-def]
    """The length of &amp; &lt; &gt; or &nbsp; where it begins at `at`, else 0."""
    size = 0
    if at + 3 < end and out[at + 3] == 59 and out[at + 2] == 116 and (out[at + 1] == 108 or out[at + 1] == 103):
        size = 4
    elif at + 4 < end and out[at + 4] == 59 and out[at + 1] == 97 and out[at + 2] == 109 and out[at + 3] == 112:
        size = 5
    elif at + 5 < end and out[at + 5] == 59 and out[at + 1] == 110 and out[at + 2] == 98 and out[at + 3] == 115:
        size = 6 if out[at + 4] == 112 else 0
    return size


@compiled
def _collapse_spaces(out, start, end):  # type: ignore[no-untyped-def]
    """Leave a line break where the white space between two words has one, else a space; returns where the text ends."""
    written, at = start, start
    gap = np.uint8(0)
    while at < end:
        space = _space_bytes(out, at, end)
        if space:
            if gap != _NEWLINE:
                gap = np.uint8(_NEWLINE if out[at] == _NEWLINE else _SPACE)
            at += space
            continue
        if gap and written > start:
            out[written] = gap
            written += 1
        gap = np.uint8(0)
        out[written] = out[at]
        written += 1
        at += 1
    return written


@inlined
def _space_bytes(out, at, end):  # type: ignore[no-untyped-def]
    """The length of the white space character at `at`, or 0 if it is another character."""
    byte = out[at]
    size = 0
    if byte == _SPACE or 9 <= byte <= 13 or 28 <= byte <= 31:
        size = 1
    elif byte >= 0xC2 and at + 1 < end:
        is_space = _is_wide_space(byte, out[at + 1], out[at + 2] if at + 2 < end else np.uint8(0))
        size = 0 if not is_space else 2 if byte == 0xC2 else 3
    return size


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
    """Whether the text of a link within the page is one sign, such as # or ¶ after a heading or ↩ after a note."""
    if not 0 < end - start <= 4:
        return False
    first = out[start]
    return (end - start == 1 and (first == 35 or first == 94)) or first == 0xC2 or first == 0xE2 or first == 0xF0


@inlined
def is_note_number(out, block_start, start, end):  # type: ignore[no-untyped-def]
    """Whether the text of a link to a note is its number, glued to a word or to the end of a sentence."""
    if not 0 < end - start <= 3 or start <= block_start:
        return False
    for at in range(start, end):
        if not 48 <= out[at] <= 57:
            return False
    before = out[start - 1]
    is_word = 48 <= before <= 57 or 97 <= before | 32 <= 122
    after_number = start > block_start + 1 and 48 <= out[start - 2] <= 57  # of a section: 3.2
    return is_word or (before in (33, 34, 46, 63) and not after_number)  # ! " . ?


@compiled
def begin_ruby_text(out, written, block_start):  # type: ignore[no-untyped-def]
    """Write the bracket that parts the annotation of a ruby from its base, unless the page's own `rp` precedes.

    HTML standard, 4.5.12: where ruby is not displayed, the annotation is in parentheses after its base. Returns
    where the text ends, and whether the bracket was written.
    """
    if written == block_start or out[written - 1] == _OPENING:
        return written, False
    if written - block_start >= 3:
        first, second, third = out[written - 3], out[written - 2], out[written - 1]
        # Full-width and CJK brackets, U+FF08, U+FF3B, U+3008 to U+3016.
        if (first == 0xEF and second == 0xBC and third in (0x88, 0xBB)) or (
            first == 0xE3 and second == 0x80 and third in (0x88, 0x8A, 0x8C, 0x8E, 0x90, 0x94, 0x96)
        ):
            return written, False
    out[written] = _OPENING
    return written + 1, True


@inlined
def end_ruby_text(out, written):  # type: ignore[no-untyped-def]
    """Write the closing bracket, or nothing in brackets for an empty annotation; returns where the text ends."""
    if out[written - 1] == _OPENING:
        return written - 1
    out[written] = _CLOSING
    return written + 1


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
