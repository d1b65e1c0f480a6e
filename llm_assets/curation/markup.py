"""Serialised markup cut into blocks of text under a tree of block elements, in one compiled pass over its bytes.

The input is what the parser writes: tags are closed in order and attribute values quoted; a "<" that begins neither a tag
nor a comment is text. The cost is linear in the page, whatever it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import unescape

import numpy as np

from llm_assets.compute.compiled import compiled

BLOCK_TAGS = tuple(
    "body address article aside blockquote caption center dd details dir div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav ol p pre section summary table tbody td tfoot th thead tr ul".split()
)
_INLINE, _LINK, _LINK_END, _BREAK, _OPEN, _CLOSE, _BOUNDARY = range(7)
_PRE = BLOCK_TAGS.index("pre")
_PLAIN, _RAW, _PREFORMATTED = 0, 1, 2


def _name_hash(name: bytes) -> int:
    value = 0x811C9DC5
    for byte in name:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def _names() -> tuple[np.ndarray, np.ndarray]:
    """Open-addressed table of the names that matter: hash (0 is empty), and kind << 8 | tag."""
    said: dict[str, tuple[int, int]] = {
        "a": (_LINK, 0),
        "/a": (_LINK_END, 0),
        "br": (_BREAK, 0),
        "hr": (_BOUNDARY, 0),
        "body": (_BOUNDARY, 0),
        "/body": (_BOUNDARY, 0),
    }
    for number, name in enumerate(BLOCK_TAGS[1:], 1):
        said[name], said[f"/{name}"] = (_OPEN, number), (_CLOSE, number)
    hashes, values = np.zeros(512, np.uint32), np.zeros(512, np.int32)
    taken = {_name_hash(name.encode()) for name in said}
    assert len(taken) == len(said) and 0 not in taken
    for name, (kind, number) in said.items():
        slot = _name_hash(name.encode()) & 511
        while hashes[slot]:
            slot = (slot + 1) & 511
        hashes[slot], values[slot] = _name_hash(name.encode()), kind << 8 | number
    return hashes, values


_HASHES, _VALUES = _names()


@dataclass
class Blocks:
    """Parallel lists. Of each element: tag, parent, first block in it and the one behind its last, its attributes' span.
    Of each block: text, element, characters that are links. Element 0 is the body.
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
    """Blocks of text, white space collapsed (kept in `pre`) and references resolved; empty ones are left out."""
    markup = html.encode("utf-8", "replace")
    data = np.frombuffer(markup, np.uint8)
    tags = markup.count(b"<") + 1
    elements, blocks = np.zeros((tags, 6), np.int32), np.zeros((tags + 1, 5), np.int32)
    # A line break may write a byte that is not in the input.
    out = np.empty(len(data) + tags, np.uint8)
    found, cut = _cut(data, _HASHES, _VALUES, elements, blocks, out)
    written = out.tobytes()
    texts, owners, links, number_of = [], [], [], []
    for start, end, mode, element, linked in blocks[:cut].tolist():
        text = written[start:end].decode()
        if mode != _PLAIN:
            if mode & _RAW:
                text = unescape(text)
            text = text.strip("\n") if mode & _PREFORMATTED else " ".join(text.split())
            if not text or text.isspace():
                number_of.append(len(texts))
                continue
        number_of.append(len(texts))
        texts.append(text)
        owners.append(element)
        links.append(linked)
    number_of.append(len(texts))
    kept = elements[:found]
    # Blocks that came to nothing shift the numbers of those behind them.
    numbers = np.array(number_of, np.int32)
    return Blocks(
        markup,
        [BLOCK_TAGS[number] for number in kept[:, 0].tolist()],
        kept[:, 1].tolist(),
        numbers[kept[:, 2]].tolist(),
        numbers[kept[:, 3]].tolist(),
        list(map(tuple, kept[:, 4:6].tolist())),
        texts,
        owners,
        links,
    )


@compiled
def _tag_end(data, at, end):  # type: ignore[no-untyped-def]
    """Where the `>` is that closes a tag whose attributes begin at `at`: the first outside quotes; -1 if there is none."""
    quoted = False
    while at < end:
        byte = data[at]
        if byte == 34:
            quoted = not quoted
        elif byte == 62 and not quoted:
            return at
        at += 1
    return -1


@compiled
def _finish(out, start, end, raw, preformatted):  # type: ignore[no-untyped-def]
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


@compiled
def _cut(data, hashes, values, elements, blocks, out):  # type: ignore[no-untyped-def]
    n = len(data)
    found, cut, written, begun = 1, 0, 0, 0
    current, linked, depth_of_pre = 0, 0, 0
    in_link, raw = False, False
    # From which place on no tag can be closed, by the parity of the quotes before it; and no comment.
    quotes = 0
    hopeless = np.full(2, n + 1, np.int64)
    no_comment = n + 1
    position, close, number = 0, 0, 0
    at = 0
    while at < n:
        byte = data[at]
        kind = -1
        if byte == 60:
            position = at + 1
            if position < n and data[position] == 47:
                position += 1
            if position < n and 97 <= data[position] | 32 <= 122:
                code = np.uint32(0x811C9DC5)
                if data[at + 1] == 47:
                    code = np.uint32((code ^ np.uint32(47)) * np.uint32(0x01000193))
                while position < n:
                    letter = data[position]
                    if (
                        letter == 62
                        or letter == 47
                        or letter == 34
                        or letter == 32
                        or 9 <= letter <= 13
                        or 28 <= letter <= 31
                    ):
                        break
                    code = np.uint32((code ^ np.uint32(letter)) * np.uint32(0x01000193))
                    position += 1
                if position < hopeless[quotes & 1]:
                    close = _tag_end(data, position, n)
                    if close < 0:
                        hopeless[quotes & 1] = position
                    else:
                        slot = code & np.uint32(511)
                        while hashes[slot] != 0 and hashes[slot] != code:
                            slot = (slot + np.uint32(1)) & np.uint32(511)
                        value = values[slot] if hashes[slot] == code else 0
                        kind, number = value >> 8, value & 255
            elif at + 3 < n and data[at + 1] == 33 and data[at + 2] == 45 and data[at + 3] == 45 and at < no_comment:
                end = at + 4
                while end + 2 < n and not (data[end] == 45 and data[end + 1] == 45 and data[end + 2] == 62):
                    end += 1
                if end + 2 < n:
                    for i in range(at, end):
                        quotes += data[i] == 34
                    at = end + 3
                    continue
                no_comment = at
        if kind < 0:
            # Text, up to the next "<".
            while True:
                if byte == 38:
                    raw = True
                elif byte >= 0xC2 and not raw and at + 1 < n:
                    # White space beyond ASCII: U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000.
                    second = data[at + 1]
                    third = data[at + 2] if at + 2 < n else np.uint8(0)
                    if byte == 0xC2:
                        raw = second == 0x85 or second == 0xA0
                    elif byte == 0xE1:
                        raw = second == 0x9A and third == 0x80
                    elif byte == 0xE2:
                        raw = (
                            second == 0x80 and (third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF)
                        ) or (second == 0x81 and third == 0x9F)
                    elif byte == 0xE3:
                        raw = second == 0x80 and third == 0x80
                quotes += byte == 34
                out[written] = byte
                written += 1
                if in_link and byte & 0xC0 != 0x80:
                    linked += 1
                at += 1
                if at >= n or data[at] == 60:
                    break
                byte = data[at]
            continue
        if kind >= _OPEN:
            if written > begun:
                end = _finish(out, begun, written, raw, depth_of_pre > 0)
                if end >= 0:
                    blocks[cut, 0], blocks[cut, 1], blocks[cut, 3], blocks[cut, 4] = begun, end, current, linked
                    blocks[cut, 2] = (_RAW if raw else 0) | (_PREFORMATTED if depth_of_pre > 0 else 0)
                    cut += 1
                begun = written
            linked, raw = 0, False
            if kind == _OPEN:
                elements[found, 0], elements[found, 1], elements[found, 2] = number, current, cut
                elements[found, 4], elements[found, 5] = position, close
                current = found
                found += 1
                if number == _PRE:
                    depth_of_pre += 1
            elif kind == _CLOSE and current:
                elements[current, 3] = cut
                if elements[current, 0] == _PRE:
                    depth_of_pre -= 1
                current = elements[current, 1]
        elif kind == _LINK:
            in_link = True
        elif kind == _LINK_END:
            in_link = False
        elif kind == _BREAK:
            out[written] = 10
            written += 1
        for i in range(position, close):
            quotes += data[i] == 34
        at = close + 1
    elements[0, 3] = cut
    return found, cut
