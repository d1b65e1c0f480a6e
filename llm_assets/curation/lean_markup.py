"""A page's markup without what no text comes from: scripts, styles, comments, and most attributes.

The time of the parser and of the later steps grows with the bytes of the page, half of which are such. One compiled
pass follows the tokenizer of the HTML standard (13.2.5) far enough to know tags, attributes and raw text; the tree that
the parser builds from the rest holds the same elements and the same text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llm_assets.compiled import compiled, inlined

from .attributes import style_flags
from .name_tables import FNV_OFFSET, extended, hash_of, hash_table, in_lower_case, look_up

_KEPT, _STYLE, _HREF = 1, 2, 3
_KEPT_NAMES = (
    "class id role itemprop data-component data-testid hidden aria-hidden open alt alttext encoding close type"
).split()
_ATTRIBUTES = hash_table({**dict.fromkeys(_KEPT_NAMES, _KEPT), "style": _STYLE, "href": _HREF}, 64)
_DROPPED, _EMPTIED, _COPIED, _FOREIGN, _REST = range(1, 6)
# Elements whose content is no markup: without content, with their tags, or as they are.
_ELEMENTS = hash_table(
    {
        **dict.fromkeys("style iframe noembed noframes noscript".split(), _DROPPED),
        "script": _DROPPED,
        "textarea": _EMPTIED,
        "title": _COPIED,
        "xmp": _COPIED,
        "svg": _FOREIGN,
        "math": _FOREIGN,
        "plaintext": _REST,
    },
    64,
)
_SCRIPT = hash_of(b"script")
_LESS, _GREATER, _SLASH, _QUOTE, _APOSTROPHE, _EQUALS, _SPACE = 60, 62, 47, 34, 39, 61, 32
_HYPHEN, _EXCLAMATION, _QUESTION, _BRACKET, _NUMBER_SIGN = 45, 33, 63, 91, 35


class Lean(NamedTuple):
    """The markup that is left, and the greatest number of attributes of one tag."""

    markup: str
    most_attributes: int


def lean_markup(markup: bytes) -> Lean:
    """Reduce a page, as UTF-8."""
    data = np.frombuffer(markup, np.uint8)
    out = np.empty(len(data) + 1, np.uint8)
    written, most = _reduce(data, *_ELEMENTS, *_ATTRIBUTES, out)
    return Lean(out[:written].tobytes().decode("utf-8", "replace"), most)


@compiled
def _reduce(data, hashes, values, attribute_hashes, attributes, out):  # type: ignore[no-untyped-def]
    """Write what is left to `out`; returns how many bytes, and the greatest number of attributes.

    A loop over the tags. It is long because each kind of tag and text moves the same positions in `data` and `out`.
    """
    n = len(data)
    at, written, most, foreign = 0, 0, 0, 0
    while at < n:
        byte = data[at]
        if byte != _LESS or at + 1 >= n:
            if byte:
                out[written] = byte
                written += 1
            at += 1
            continue
        following = data[at + 1]
        closes = following == _SLASH
        name_start = at + 2 if closes else at + 1
        if name_start >= n or not 97 <= data[name_start] | 32 <= 122:
            if following == _EXCLAMATION:
                if at + 3 < n and data[at + 2] == _HYPHEN and data[at + 3] == _HYPHEN:
                    at = _after_comment(data, at + 4, n)
                elif foreign and at + 2 < n and data[at + 2] == _BRACKET:
                    at, written = _copy_cdata(data, at, n, out, written)
                else:
                    at, written = _copy_declaration(data, at, n, out, written)
            elif following == _QUESTION or closes:
                at = _after_mark(data, at, n)
            else:
                out[written] = byte
                written += 1
                at += 1
            continue
        code = np.uint32(FNV_OFFSET)
        position = name_start
        while position < n and data[position] > _SPACE and data[position] != _GREATER and data[position] != _SLASH:
            letter = data[position]
            lower = in_lower_case(letter)
            code = extended(code, lower)
            position += 1
        kind = look_up(hashes, values, code)
        tag_start = written
        written = _copy(data, at, position, out, written)
        at, written, count, empty, is_math = _copy_attributes(
            data, position, n, attribute_hashes, attributes, out, written
        )
        most = max(most, count)
        if kind == 0:
            continue
        if kind == _FOREIGN:
            foreign = max(foreign + (-1 if closes else 0 if empty else 1), 0)
        elif closes or (foreign and empty):
            continue
        elif kind == _REST:
            for i in range(at, n):
                out[written] = data[i]
                written += 1
            return written, most
        elif not foreign or kind == _DROPPED:
            end_tag, end = _end_of_raw_text(data, at, n, code)
            if kind == _COPIED or is_math:
                written = _copy(data, at, end, out, written)
            elif kind == _EMPTIED:
                for i in range(end_tag, end):
                    out[written] = data[i]
                    written += 1
            else:
                written = tag_start
            at = end
    return written, most


@inlined
def _copy(data, start, end, out, written):  # type: ignore[no-untyped-def]
    """Copy data[start:end] without its zero bytes; returns where it ends in `out`."""
    for i in range(start, end):
        if data[i]:
            out[written] = data[i]
            written += 1
    return written


@inlined
def _copy_attributes(data, at, n, hashes, kinds, out, written):  # type: ignore[no-untyped-def]
    """Copy the attributes of a tag that matter, and its end.

    Returns where the tag ends in `data` and `out`, how many attributes it has, whether it ends in "/>", and whether its
    type is that of MathJax's scripts. It is long because name, value and decision are read in one pass over the bytes.
    """
    count, empty, is_math = 0, False, False
    while at < n:
        byte = data[at]
        if byte == _GREATER:
            break
        if byte <= _SPACE or byte == _SLASH:
            at += 1
            empty = byte == _SLASH
            continue
        empty = False
        start = at
        code = np.uint32(FNV_OFFSET)
        # A name may begin with "=".
        while at < n and (
            at == start or (data[at] > _SPACE and data[at] != _EQUALS and data[at] != _GREATER and data[at] != _SLASH)
        ):
            letter = data[at]
            lower = in_lower_case(letter)
            code = extended(code, lower)
            at += 1
        count += 1
        name_end = at
        while at < n and data[at] <= _SPACE:
            at += 1
        first = last = at
        if at < n and data[at] == _EQUALS:
            at += 1
            while at < n and data[at] <= _SPACE:
                at += 1
            if at < n and (data[at] == _QUOTE or data[at] == _APOSTROPHE):
                mark = data[at]
                at += 1
                first = at
                while at < n and data[at] != mark:
                    at += 1
                last = at
                at += 1
            else:
                first = at
                while at < n and data[at] > _SPACE and data[at] != _GREATER:
                    at += 1
                last = at
        else:
            at = name_end
        kind = look_up(hashes, kinds, code)
        if (
            kind == _KEPT
            or (kind == _STYLE and style_flags(data, first, min(last, n)))
            or (kind == _HREF and first < n and data[first] == _NUMBER_SIGN)
        ):
            is_math |= last - first > 5 and data[first] == 109 and data[first + 4] == _SLASH and code == _TYPE_CODE
            out[written] = _SPACE
            written += 1
            written = _copy(data, start, min(at, n), out, written)
    if at < n:
        if empty:
            out[written] = _SLASH
            written += 1
        out[written] = _GREATER
        written += 1
    return min(at + 1, n), written, count, empty, is_math


@compiled
def _after_mark(data, at, n):  # type: ignore[no-untyped-def]
    """Where the text after the next ">" begins."""
    while at < n and data[at] != _GREATER:
        at += 1
    return min(at + 1, n)


@compiled
def _after_comment(data, at, n):  # type: ignore[no-untyped-def]
    """Where the text after a comment begins whose content begins at `at`."""
    if at < n and data[at] == _GREATER:
        return at + 1
    if at + 1 < n and data[at] == _HYPHEN and data[at + 1] == _GREATER:
        return at + 2
    while at + 2 < n:
        if data[at] == _HYPHEN and data[at + 1] == _HYPHEN:
            if data[at + 2] == _GREATER:
                return at + 3
            if data[at + 2] == _EXCLAMATION and at + 3 < n and data[at + 3] == _GREATER:
                return at + 4
        at += 1
    return n


@compiled
def _copy_declaration(data, at, n, out, written):  # type: ignore[no-untyped-def]
    """Copy a document type or the like up to its ">"; returns where it ends in `data` and in `out`."""
    end = _after_mark(data, at, n)
    written = _copy(data, at, end, out, written)
    return end, written


@compiled
def _copy_cdata(data, at, n, out, written):  # type: ignore[no-untyped-def]
    """Copy a CDATA section within foreign content; returns where it ends in `data` and in `out`."""
    end = at
    while end < n and not (data[end] == _GREATER and data[end - 1] == 93 and data[end - 2] == 93):
        end += 1
    end = min(end + 1, n)
    written = _copy(data, at, end, out, written)
    return end, written


@compiled
def _end_of_raw_text(data, at, n, code):  # type: ignore[no-untyped-def]
    """Where the end tag of an element begins and ends whose content is no markup and begins at `at`.

    An end tag in a script in a comment in a script ends the inner one (HTML standard, 13.2.5.19, "double escaped").
    """
    in_comment, nested = False, False
    while at < n:
        if not in_comment:
            while at < n and data[at] != _LESS:
                at += 1
        elif data[at] != _LESS:
            if data[at] == _GREATER and data[at - 1] == _HYPHEN and data[at - 2] == _HYPHEN:
                in_comment = nested = False
            at += 1
            continue
        start = at
        at += 1
        if at + 2 < n and data[at] == _EXCLAMATION and data[at + 1] == _HYPHEN and data[at + 2] == _HYPHEN:
            in_comment = code == np.uint32(_SCRIPT)
            at += 1  # "<!-->" is a whole comment
            continue
        closes = at < n and data[at] == _SLASH
        at += closes
        name = np.uint32(FNV_OFFSET)
        while at < n and 97 <= data[at] | 32 <= 122:
            name = extended(name, data[at] | 32)
            at += 1
        if name != code or (at < n and data[at] > _SPACE and data[at] != _GREATER and data[at] != _SLASH):
            continue
        if closes and not nested:
            return start, _after_mark(data, at, n)
        if in_comment:
            nested = not closes
    return n, n


_TYPE_CODE = hash_of(b"type")
