"""Tags of serialised markup: what each does to the blocks of a page, and where they and other markup end."""

from __future__ import annotations

import numpy as np

from llm_assets.compiled import compiled, inlined

from .attributes import FOR_SCREEN_READERS, read_attributes
from .name_tables import FNV_OFFSET, extended, hash_table, look_up

BLOCK_TAGS = tuple(
    (
        "body address article aside blockquote caption center dd details dialog dir div dl dt fieldset figcaption "
        "figure footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav ol p pre section summary table "
        "tbody td tfoot th thead tr ul"
    ).split()
)
# Effects of a tag on the blocks. TEXT is a "<" that begins no tag.
INLINE, LINK, BREAK, BLOCK, BOUNDARY, VOID, IMAGE, RAW_TEXT, PASSED, MATH, SUP, SUB, SPAN, RUBY_TEXT = range(14)
TEXT = -1
PRE, DIALOG = BLOCK_TAGS.index("pre"), BLOCK_TAGS.index("dialog")
NO_END = -2
MAX_UNCLOSED = 64  # tags without an end, after which quotes no longer hide a ">"
# Text of these elements is no text of the page, or not escaped by the parser.
_RAW_TEXT_TAGS = "script style iframe noembed noframes xmp plaintext".split()
_PASSED_TAGS = (
    "noscript template svg object audio video canvas button select textarea datalist annotation mjx-math"
).split()
_VOID_TAGS = "area base basefont bgsound col embed frame input keygen link meta param source track wbr".split()
TAG_TABLE = hash_table(
    {
        **{name: BLOCK | number << 8 for number, name in enumerate(BLOCK_TAGS) if number},
        **dict.fromkeys(_RAW_TEXT_TAGS, RAW_TEXT),
        **dict.fromkeys(_PASSED_TAGS, PASSED),
        **dict.fromkeys(_VOID_TAGS, VOID),
        "a": LINK,
        "br": BREAK,
        "hr": BOUNDARY,
        "body": BOUNDARY,
        "img": IMAGE,
        "math": MATH,
        "sup": SUP,
        "sub": SUB,
        "span": SPAN,
        "rt": RUBY_TEXT,
    },
    512,
)
_LESS, _GREATER, _SLASH, _QUOTE, _HYPHEN, _EXCLAMATION, _SPACE = 60, 62, 47, 34, 45, 33, 32
_MATH_END = np.frombuffer(b"</math>", np.uint8)


@inlined
def begins_comment(data, at, n):  # type: ignore[no-untyped-def]
    return at + 3 < n and data[at + 1] == _EXCLAMATION and data[at + 2] == _HYPHEN and data[at + 3] == _HYPHEN


@compiled
def comment_end(data, at, n):  # type: ignore[no-untyped-def]
    """Where the "-->" is that ends the comment at `at`, or -1."""
    end = at + 4
    while end + 2 < n and not (data[end] == _HYPHEN and data[end + 1] == _HYPHEN and data[end + 2] == _GREATER):
        end += 1
    return end if end + 2 < n else -1


@inlined
def read_tag(data, at, n, hashes, values, unclosed):  # type: ignore[no-untyped-def]
    """The tag at the "<" at `at`: kind, number of a block tag, hash of its name, whether it is an end tag, where its
    name ends, and where its ">" is.

    The kind is TEXT if no tag begins there, or if it is not closed; then the last number is NO_END.
    """
    position = at + 1
    closes = position < n and data[position] == _SLASH
    if closes:
        position += 1
    code = np.uint32(FNV_OFFSET)
    if position >= n or not 97 <= data[position] | 32 <= 122:
        return TEXT, 0, code, closes, 0, 0
    while position < n:
        byte = data[position]
        if ends_name(byte):
            break
        code = extended(code, byte)
        position += 1
    close = tag_end(data, position, n, unclosed)
    if close < 0:
        return TEXT, 0, code, closes, 0, NO_END
    value = look_up(hashes, values, code)
    return value & 255, value >> 8, code, closes, position, close


@inlined
def ends_name(byte):  # type: ignore[no-untyped-def]
    """Whether a byte ends a tag's name: > / or white space. A quotation mark is a part of it (HTML, 13.2.5.8)."""
    return byte == 62 or byte == 47 or byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31


@compiled
def tag_end(data, at, n, unclosed):  # type: ignore[no-untyped-def]
    """Where the ">" is that closes a tag whose attributes begin at `at`: the first outside quotes, or -1.

    unclosed: how many tags had no end so far. Each of them was looked for to the end of the page.
    """
    if unclosed > MAX_UNCLOSED:
        return -1
    quoted = False
    while at < n:
        byte = data[at]
        if byte == _QUOTE:
            quoted = not quoted
        elif byte == _GREATER and (not quoted or unclosed == MAX_UNCLOSED):
            return at
        at += 1
    return -1


@compiled
def raw_text_end(data, at, n, code):  # type: ignore[no-untyped-def]
    """Where the text after the end tag of an element begins whose content is not escaped and begins at `at`."""
    while at + 1 < n:
        if data[at] != _LESS or data[at + 1] != _SLASH:
            at += 1
            continue
        at += 2
        name = np.uint32(FNV_OFFSET)
        while at < n and not ends_name(data[at]):
            name = extended(name, data[at])
            at += 1
        if name == code:
            while at < n and data[at] != _GREATER:
                at += 1
            return at + 1
    return n


@compiled
def math_end(data, at, n):  # type: ignore[no-untyped-def]
    """Where the text after the next "</math>" begins, or -1."""
    while at + len(_MATH_END) <= n:
        matched = 0
        while matched < len(_MATH_END) and data[at + matched] == _MATH_END[matched]:
            matched += 1
        if matched == len(_MATH_END):
            return at + matched
        at += 1
    return -1


@compiled
def is_for_screen_readers(  # type: ignore[no-untyped-def]
    data, at, n, hashes, values, name_hashes, names, word_hashes, words
):
    """Whether the next element, with nothing but white space before it, is for screen readers only."""
    while at < n and data[at] <= _SPACE:
        at += 1
    if at >= n or data[at] != _LESS:
        return False
    kind, _, _, closes, name_end, close = read_tag(data, at, n, hashes, values, 0)
    if kind == TEXT or closes:
        return False
    flags = read_attributes(data, name_end, close, name_hashes, names, word_hashes, words)
    return flags & FOR_SCREEN_READERS != 0
