"""Serialised markup, cut into blocks of text under a tree of block elements in one compiled pass over its bytes.

The input is what the parser writes: tags are closed in order and attribute values are quoted. A "<" that begins neither
a tag nor a comment is text. The cost is linear in the page, whatever it holds.

Compiled functions take arrays one by one, so that the innermost loops look nothing up in a tuple.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import unescape

import numpy as np

from llm_assets.compute.compiled import compiled, inlined

BLOCK_TAGS = tuple(
    (
        "body address article aside blockquote caption center dd details dir div dl dt fieldset figcaption figure "
        "footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav ol p pre section summary table tbody td "
        "tfoot th thead tr ul"
    ).split()
)
# Effects of a tag on the blocks. _TEXT is a "<" that begins no tag.
_INLINE, _LINK, _LINK_END, _BREAK, _OPEN, _CLOSE, _BOUNDARY = range(7)
_TEXT = -1
_PRE = BLOCK_TAGS.index("pre")
# Modes of a block, as flags: it may hold references or white space beyond ASCII; it is preformatted.
_PLAIN, _RAW, _PREFORMATTED = 0, 1, 2
_TABLE_SIZE = 512
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
# Columns of the tables that compiled code fills.
_TAG, _PARENT, _FIRST, _LAST, _ATTRIBUTES_START, _ATTRIBUTES_END = range(6)
_START, _END, _MODE, _ELEMENT, _LINKED = range(5)
_LESS, _GREATER, _SLASH, _QUOTE, _AMPERSAND, _HYPHEN, _EXCLAMATION = 60, 62, 47, 34, 38, 45, 33


def _name_hash(name: bytes) -> int:
    value = _FNV_OFFSET
    for byte in name:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def _name_table() -> tuple[np.ndarray, np.ndarray]:
    """Open-addressed table of the names that matter: hash (0 is empty), and kind << 8 | number of the block tag."""
    meanings: dict[str, tuple[int, int]] = {
        "a": (_LINK, 0),
        "/a": (_LINK_END, 0),
        "br": (_BREAK, 0),
        "hr": (_BOUNDARY, 0),
        "body": (_BOUNDARY, 0),
        "/body": (_BOUNDARY, 0),
    }
    for number, name in enumerate(BLOCK_TAGS[1:], 1):
        meanings[name], meanings[f"/{name}"] = (_OPEN, number), (_CLOSE, number)
    hashes, values = np.zeros(_TABLE_SIZE, np.uint32), np.zeros(_TABLE_SIZE, np.int32)
    hash_of = {name: _name_hash(name.encode()) for name in meanings}
    assert len(set(hash_of.values())) == len(meanings) and 0 not in hash_of.values()
    for name, (kind, number) in meanings.items():
        slot = hash_of[name] & (_TABLE_SIZE - 1)
        while hashes[slot]:
            slot = (slot + 1) & (_TABLE_SIZE - 1)
        hashes[slot], values[slot] = hash_of[name], kind << 8 | number
    return hashes, values


_HASHES, _VALUES = _name_table()


@dataclass
class Blocks:
    """A page as parallel lists. Element 0 is the body.

    Of each element: its tag, its parent, the first block in it and the first after it, and where its attributes are in
    `markup`. Of each block: its text, its element, and how many of its characters are links.
    """

    markup: bytes
    tag: list[str]
    parent: list[int]
    first: list[int]
    last: list[int]
    spans: list[tuple[int, int]]
    text: list[str]
    element: list[int]
    links: list[int]

    def attributes(self, element: int) -> str:
        """The element's attributes as they are written."""
        start, end = self.spans[element]
        return self.markup[start:end].decode()


def read_blocks(html: str) -> Blocks:
    """Blocks of text, with white space collapsed (kept in `pre`) and references resolved; without empty ones."""
    markup = html.encode("utf-8", "replace")
    data = np.frombuffer(markup, np.uint8)
    tags = markup.count(b"<") + 1
    elements, blocks = np.zeros((tags, 6), np.int32), np.zeros((tags + 1, 5), np.int32)
    # A line break may write a byte that is not in the input.
    out = np.empty(len(data) + tags, np.uint8)
    element_count, block_count = _cut_blocks(data, _HASHES, _VALUES, elements, blocks, out)
    written = out.tobytes()
    texts, owners, links, new_numbers = [], [], [], []
    for start, end, mode, element, linked in blocks[:block_count].tolist():
        new_numbers.append(len(texts))
        text = written[start:end].decode()
        if mode != _PLAIN:
            if mode & _RAW:
                text = unescape(text)
            text = text.strip("\n") if mode & _PREFORMATTED else " ".join(text.split())
            if not text or text.isspace():
                continue
        texts.append(text)
        owners.append(element)
        links.append(linked)
    new_numbers.append(len(texts))
    filled = elements[:element_count]
    # Empty blocks shift the numbers of those after them.
    renumbered = np.array(new_numbers, np.int32)
    return Blocks(
        markup=markup,
        tag=[BLOCK_TAGS[number] for number in filled[:, _TAG].tolist()],
        parent=filled[:, _PARENT].tolist(),
        first=renumbered[filled[:, _FIRST]].tolist(),
        last=renumbered[filled[:, _LAST]].tolist(),
        spans=list(map(tuple, filled[:, _ATTRIBUTES_START:].tolist())),
        text=texts,
        element=owners,
        links=links,
    )


@compiled
def _cut_blocks(data, hashes, values, elements, blocks, out):  # type: ignore[no-untyped-def]
    """Fill `elements` and `blocks` (columns as above) and `out` with the blocks' bytes; returns how many of each.

    A state machine over the tags. It is long because the functions below take and return its state. Those that run for
    every tag or text are inlined, since calls would cost a fifth of the time.
    """
    n = len(data)
    element_count, block_count, written, block_start = 1, 0, 0, 0
    current, linked, open_pres = 0, 0, 0
    in_link, raw = False, False
    quotes = 0  # quotation marks so far: their parity decides where a tag's attributes can end
    # Positions from which on no tag is closed, by the parity of the quotes before it, and no comment.
    no_tag_end = np.full(2, n + 1, np.int64)
    no_comment_end = n + 1
    at = 0
    while at < n:
        kind, number, name_end, close = _TEXT, 0, 0, 0
        if data[at] == _LESS:
            kind, number, name_end, close = _read_tag(data, at, n, hashes, values, no_tag_end, quotes & 1)
            if kind == _TEXT and at < no_comment_end and _begins_comment(data, at, n):
                close = _comment_end(data, at, n)
                if close >= 0:
                    quotes += _count_quotes(data, at, close)
                    at = close + 3
                    continue
                no_comment_end = at
        if kind == _TEXT:
            at, written, text_quotes, link_characters, raw = _copy_text(data, at, n, out, written, in_link, raw)
            quotes += text_quotes
            linked += link_characters
            continue
        if kind >= _OPEN:
            if written > block_start:
                end = _collapse(out, block_start, written, raw, open_pres > 0)
                if end >= 0:
                    blocks[block_count, _START], blocks[block_count, _END] = block_start, end
                    blocks[block_count, _MODE] = (_RAW if raw else 0) | (_PREFORMATTED if open_pres > 0 else 0)
                    blocks[block_count, _ELEMENT], blocks[block_count, _LINKED] = current, linked
                    block_count += 1
                block_start = written
            linked, raw = 0, False
            if kind == _OPEN:
                elements[element_count, _TAG], elements[element_count, _PARENT] = number, current
                elements[element_count, _FIRST] = block_count
                elements[element_count, _ATTRIBUTES_START] = name_end
                elements[element_count, _ATTRIBUTES_END] = close
                current = element_count
                element_count += 1
                open_pres += number == _PRE
            elif kind == _CLOSE and current:
                elements[current, _LAST] = block_count
                open_pres -= elements[current, _TAG] == _PRE
                current = elements[current, _PARENT]
        elif kind == _LINK:
            in_link = True
        elif kind == _LINK_END:
            in_link = False
        elif kind == _BREAK:
            out[written] = 10
            written += 1
        quotes += _count_quotes(data, name_end, close)
        at = close + 1
    elements[0, _LAST] = block_count
    return element_count, block_count


@inlined
def _count_quotes(data, start, end):  # type: ignore[no-untyped-def]
    quotes = 0
    for i in range(start, end):
        quotes += data[i] == _QUOTE
    return quotes


@inlined
def _begins_comment(data, at, n):  # type: ignore[no-untyped-def]
    return at + 3 < n and data[at + 1] == _EXCLAMATION and data[at + 2] == _HYPHEN and data[at + 3] == _HYPHEN


@compiled
def _comment_end(data, at, n):  # type: ignore[no-untyped-def]
    """Where the "-->" is that ends the comment at `at`, or -1."""
    end = at + 4
    while end + 2 < n and not (data[end] == _HYPHEN and data[end + 1] == _HYPHEN and data[end + 2] == _GREATER):
        end += 1
    return end if end + 2 < n else -1


@inlined
def _read_tag(data, at, n, hashes, values, no_tag_end, parity):  # type: ignore[no-untyped-def]
    """The tag at the "<" at `at`: kind, number of a block tag, where its name ends, and where its ">" is.

    The kind is _TEXT if no tag begins there, or if it is not closed; `no_tag_end` remembers the latter.
    """
    position = at + 1
    if position < n and data[position] == _SLASH:
        position += 1
    if position >= n or not 97 <= data[position] | 32 <= 122:
        return _TEXT, 0, 0, 0
    code = np.uint32(_FNV_OFFSET)
    if data[at + 1] == _SLASH:
        code = np.uint32((code ^ np.uint32(_SLASH)) * np.uint32(_FNV_PRIME))
    while position < n:
        byte = data[position]
        if _ends_name(byte):
            break
        code = np.uint32((code ^ np.uint32(byte)) * np.uint32(_FNV_PRIME))
        position += 1
    if position >= no_tag_end[parity]:
        return _TEXT, 0, 0, 0
    close = _tag_end(data, position, n)
    if close < 0:
        no_tag_end[parity] = position
        return _TEXT, 0, 0, 0
    mask = np.uint32(_TABLE_SIZE - 1)
    slot = code & mask
    while hashes[slot] != 0 and hashes[slot] != code:
        slot = (slot + np.uint32(1)) & mask
    value = values[slot] if hashes[slot] == code else 0
    return value >> 8, value & 255, position, close


@inlined
def _ends_name(byte):  # type: ignore[no-untyped-def]
    """Whether a byte ends a tag's name: > / " or white space."""
    return byte == 62 or byte == 47 or byte == 34 or byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31


@compiled
def _tag_end(data, at, n):  # type: ignore[no-untyped-def]
    """Where the ">" is that closes a tag whose attributes begin at `at`: the first outside quotes, or -1."""
    quoted = False
    while at < n:
        byte = data[at]
        if byte == _QUOTE:
            quoted = not quoted
        elif byte == _GREATER and not quoted:
            return at
        at += 1
    return -1


@inlined
def _copy_text(data, at, n, out, written, in_link, raw):  # type: ignore[no-untyped-def]
    """Copy text up to the next "<" after `at` to out[written:].

    Returns where it ends in `data` and in `out`, its quotation marks, its characters if it is in a link, and `raw`.
    """
    quotes, link_characters = 0, 0
    while True:
        byte = data[at]
        if byte == _AMPERSAND:
            raw = True
        elif byte >= 0xC2 and not raw and at + 1 < n:
            raw = _is_wide_space(byte, data[at + 1], data[at + 2] if at + 2 < n else np.uint8(0))
        quotes += byte == _QUOTE
        out[written] = byte
        written += 1
        if in_link and byte & 0xC0 != 0x80:
            link_characters += 1
        at += 1
        if at >= n or data[at] == _LESS:
            break
    return at, written, quotes, link_characters, raw


@compiled
def _is_wide_space(first, second, third):  # type: ignore[no-untyped-def]
    """Whether bytes begin white space beyond ASCII.

    That is U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F and U+3000.
    """
    if first == 0xC2:
        return second == 0x85 or second == 0xA0
    if first == 0xE1:
        return second == 0x9A and third == 0x80
    if first == 0xE2:
        in_general_punctuation = third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF
        return (second == 0x80 and in_general_punctuation) or (second == 0x81 and third == 0x9F)
    return first == 0xE3 and second == 0x80 and third == 0x80


@compiled
def _collapse(out, start, end, raw, preformatted):  # type: ignore[no-untyped-def]
    """Collapse the white space of a plain block in place; returns its end, or -1 where nothing is in it."""
    if raw or preformatted:
        return end if end > start else -1
    to = start
    space = False
    for at in range(start, end):
        byte = out[at]
        if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31:
            space = to > start
        else:
            if space:
                out[to] = 32
                to += 1
                space = False
            out[to] = byte
            to += 1
    return to if to > start else -1
