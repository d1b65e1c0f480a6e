"""Serialised markup, cut into blocks of text under a tree of block elements in one compiled pass over its bytes.

The input is what the parser writes: tags are closed in order and attribute values are quoted. A "<" that begins neither
a tag nor a comment is text. Elements without text of their own (scripts, buttons) and hidden inline elements are passed
over; hidden block elements are marked. Formulas, superscripts and subscripts are marked for `notation.py`. The cost is
linear in the page, whatever it holds.

Compiled functions take arrays one by one, so that the innermost loops look nothing up in a tuple.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import unescape

import numpy as np

from llm_assets.compiled import compiled

from .attributes import (
    ARIA_HIDDEN,
    FOR_SCREEN_READERS,
    FORMULA_IMAGE,
    FORMULA_TEXT,
    FRAGMENT,
    HIDDEN,
    IS_OPEN,
    LOWERED,
    MATH_SCRIPT,
    NAME_TABLE,
    NOTE,
    RAISED,
    RENDERED_FORMULA,
    RENDERED_MATHJAX,
    WORD_TABLE,
    read_attributes,
)
from .block_text import (
    RAW,
    begin_ruby_text,
    copy_alt,
    copy_marked,
    copy_text,
    end_ruby_text,
    finish_text,
    is_note_number,
    is_permalink,
    write_break,
)
from .name_tables import hash_of
from .notation import FORMULA, MARK, MARK_END, NOTE_MARK, SUBSCRIPT, SUPERSCRIPT, write_out
from .tags import (
    BLOCK,
    BOUNDARY,
    BREAK,
    DIALOG,
    IMAGE,
    INLINE,
    LINK,
    MATH,
    MAX_UNCLOSED,
    NO_END,
    PASSED,
    PRE,
    RAW_TEXT,
    RUBY_TEXT,
    SPAN,
    SUB,
    SUP,
    TAG_TABLE,
    TEXT,
    VOID,
    begins_comment,
    comment_end,
    is_for_screen_readers,
    math_end,
    raw_text_end,
    read_tag,
)

# Modes of a block, as flags: it may hold references or white space beyond ASCII; it is preformatted; it holds marks.
_PLAIN, _PREFORMATTED, _MARKED = 0, 2, 4
# Columns of the tables that compiled code fills.
_TAG, _PARENT, _FIRST, _LAST, _ATTRIBUTES_START, _ATTRIBUTES_END, _FLAGS = range(7)
_START, _END, _MODE, _ELEMENT, _LINKED = range(5)
_LESS, _SPACE, _NEWLINE = 60, 32, 10
_SCRIPT = hash_of(b"script")
_HIDING = HIDDEN | FOR_SCREEN_READERS
_SCRIPTS = RAISED | LOWERED


@dataclass
class Blocks:
    """A page as parallel arrays. Element 0 is the body.

    Of each element (int32): the number of its tag, its parent, the first block in it and the first after it, what its
    attributes say (flags of `attributes.py`), and where they begin and end in `markup`. Of each block (int32): where
    its UTF-8 begins and ends in `written`, its element, and how many of its characters are links.
    """

    markup: bytes
    written: bytes
    tag: np.ndarray
    parent: np.ndarray
    first: np.ndarray
    last: np.ndarray
    flags: np.ndarray
    attribute_starts: np.ndarray
    attribute_ends: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    element: np.ndarray
    links: np.ndarray

    def attributes(self, element: int) -> str:
        """The element's attributes as they are written."""
        return self.markup[self.attribute_starts[element] : self.attribute_ends[element]].decode()

    def text(self, block: int) -> str:
        """A block's text."""
        return self.written[self.starts[block] : self.ends[block]].decode()

    def texts(self) -> list[str]:
        """The text of every block."""
        return [self.text(block) for block in range(len(self.starts))]


def read_blocks(html: str, with_hidden: bool = False) -> Blocks:
    """Blocks of text, with white space collapsed (kept in `pre`) and references resolved; without empty ones.

    A `br` is a line break in its block. with_hidden: also read the text of hidden inline elements.
    """
    markup = html.encode("utf-8", "replace")
    data = np.frombuffer(markup, np.uint8)
    tags = np.count_nonzero(data == _LESS) + 1  # faster than markup.count
    elements, blocks = np.empty((tags, 7), np.int32), np.empty((tags + 1, 5), np.int32)
    out = np.empty(len(data) + 8, np.uint8)
    element_count, block_count = _cut_blocks(
        data, *TAG_TABLE, *NAME_TABLE, *WORD_TABLE, elements, blocks, out, with_hidden
    )
    written = out[: blocks[block_count - 1, _END] if block_count else 0].tobytes()
    starts, ends, modes, owners, links = np.ascontiguousarray(blocks[:block_count].T)
    tag, parent, first, last, attribute_starts, attribute_ends, flags = np.ascontiguousarray(elements[:element_count].T)
    if modes.any():
        written, is_empty = _finish_blocks(written, starts, ends, modes)
        # Empty blocks shift the numbers of those after them.
        numbers = np.zeros(block_count + 1, np.int32)
        np.cumsum(~is_empty, out=numbers[1:])
        first, last = numbers[first], numbers[last]
        starts, ends, owners, links = (column[~is_empty] for column in (starts, ends, owners, links))
    return Blocks(
        markup, written, tag, parent, first, last, flags, attribute_starts, attribute_ends, starts, ends, owners, links
    )


def _finish_blocks(written: bytes, starts: np.ndarray, ends: np.ndarray, modes: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Append the texts of blocks that are not finished yet to those written, and let their places be there.

    Returns all texts, and which blocks (bool) turned out to be empty.
    """
    pieces, end = [written], len(written)
    for block in np.flatnonzero(modes).tolist():
        piece = _finish(written[starts[block] : ends[block]].decode(), modes[block]).encode()
        pieces.append(piece)
        starts[block], end = end, end + len(piece)
        ends[block] = end
    return b"".join(pieces), starts == ends


def _finish(text: str, mode: int) -> str:
    """The text of a block with marks, or with references that no parser writes; "" if nothing is in it."""
    if mode & _MARKED:
        text = write_out(text)
    if mode & RAW:
        text = unescape(text)
    if mode & _PREFORMATTED:
        return "" if text.isspace() else text.strip("\n")
    if "\n" not in text:
        return " ".join(text.split())
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


@compiled
def _cut_blocks(  # type: ignore[no-untyped-def]
    data, hashes, values, name_hashes, names, word_hashes, words, elements, blocks, out, with_hidden
):
    """Fill `elements` and `blocks` (columns as above) and `out` with the blocks' bytes; returns how many of each.

    A state machine over the tags. It is long because the functions below take and return its state. Those that run for
    every tag or text are inlined, since calls would cost a fifth of the time.
    """
    n = len(data)
    element_count, block_count, written, block_start = 1, 0, 0, 0
    elements[0, :] = 0
    current, linked, open_pres = 0, 0, 0
    in_link, mode = False, 0
    # The element that is passed over: the hash of its name, and how many of that name are open.
    passed, passed_depth = np.uint32(0), 0
    kept_aria = -1  # where an element begins that is kept although it has aria-hidden
    screen_reader_end = -1  # where the last element for screen readers ended
    aria_start, for_screen_readers = -1, False
    formula_start, formula_end = -1, -1  # of the last formula, in `out`
    sup_start, link_start = -1, -1  # of the open superscript and link, in `out`
    fragment_link, note_link = False, False
    raised_spans = 0  # how many spans are open, from one that is a superscript or subscript on
    in_ruby_text = False
    unclosed = 0
    no_comment_end, no_math_end = n + 1, n + 1
    at = 0
    while at < n:
        if data[at] != _LESS:
            if passed_depth:
                while at < n and data[at] != _LESS:
                    at += 1
                continue
            at, written, link_characters, mode = copy_text(
                data, at, n, out, written, block_start, open_pres > 0, in_link, mode
            )
            linked += link_characters
            continue
        kind, number, code, closes, name_end, close = read_tag(data, at, n, hashes, values, unclosed)
        if kind == TEXT:
            if at < no_comment_end and begins_comment(data, at, n):
                close = comment_end(data, at, n)
                if close >= 0:
                    at = close + 3
                    continue
                no_comment_end = at
            if close == NO_END:
                unclosed += 1 if unclosed < MAX_UNCLOSED else MAX_UNCLOSED
            if not passed_depth:
                out[written] = _LESS
                written += 1
                linked += in_link
            at += 1
            continue
        tag_start, at = at, close + 1
        if kind == RAW_TEXT and not closes:
            end = raw_text_end(data, at, n, code)
            if code == np.uint32(_SCRIPT) and not passed_depth and name_end < close:
                flags = read_attributes(data, name_end, close, name_hashes, names, word_hashes, words)
                if flags & MATH_SCRIPT:
                    if formula_end == written and formula_start >= block_start:
                        written = formula_start  # the same formula in MathML
                    formula_start = written
                    written = copy_marked(data, tag_start, end, FORMULA, out, written)
                    formula_end = written
                    mode |= _MARKED | RAW
            at = end
            continue
        if passed_depth:
            if code == passed and kind != VOID:
                passed_depth += -1 if closes else 1
                if passed_depth == 0:
                    if aria_start >= 0 and is_for_screen_readers(
                        data, at, n, hashes, values, name_hashes, names, word_hashes, words
                    ):
                        kept_aria, at = aria_start, aria_start
                    elif for_screen_readers:
                        screen_reader_end = at
                    aria_start = -1
            continue
        flags = 0
        if not closes and name_end < close and kind != BREAK and kind != VOID:
            flags = read_attributes(data, name_end, close, name_hashes, names, word_hashes, words)
        if not closes and (kind == PASSED or flags) and kind != BLOCK and kind != IMAGE and kind != BOUNDARY:
            hidden = kind == PASSED
            if not hidden and not with_hidden and kind != MATH and not flags & FORMULA_TEXT:
                hidden = flags & _HIDING != 0 or (kind == SPAN and flags & RENDERED_MATHJAX != 0)
                if flags & RENDERED_FORMULA:
                    hidden = formula_end == written
                elif not hidden and flags & ARIA_HIDDEN and tag_start != kept_aria:
                    between = screen_reader_end
                    while 0 <= between < tag_start and data[between] <= _SPACE:
                        between += 1
                    if between != tag_start:
                        hidden = True
                        aria_start = tag_start
            if hidden:
                passed, passed_depth = code, 1
                for_screen_readers = flags & FOR_SCREEN_READERS != 0
                continue
        if kind == SPAN and (raised_spans or flags & _SCRIPTS):
            raised_spans += -1 if closes else 1
            if raised_spans == (0 if closes else 1):
                kind = SUB if flags & LOWERED else SUP
        if kind in (INLINE, SPAN, VOID, RAW_TEXT, PASSED):
            continue
        if kind == LINK:
            if closes and in_link:
                is_mark = fragment_link and is_permalink(out, link_start, written)
                if not is_mark and note_link and sup_start < 0:
                    is_mark = is_note_number(out, block_start, link_start, written)
                if is_mark:
                    linked -= written - link_start
                    written = link_start
            in_link = not closes
            link_start, fragment_link = written, flags & FRAGMENT != 0
            note_link = flags & NOTE != 0
            if in_link and sup_start >= 0:
                out[sup_start] = NOTE_MARK
        elif kind == BREAK:
            if not closes:
                written = write_break(out, written, block_start, open_pres)
        elif kind in (SUP, SUB):
            if not closes:
                out[written] = MARK
                is_note = kind == SUP and (flags & NOTE or (in_link and fragment_link and link_start == written))
                out[written + 1] = NOTE_MARK if is_note else SUPERSCRIPT if kind == SUP else SUBSCRIPT
                sup_start = written + 1 if kind == SUP else -1
                written += 2
                mode |= _MARKED
            elif mode & _MARKED:
                out[written] = MARK_END
                written += 1
                sup_start = -1
        elif kind == RUBY_TEXT:
            if not closes:
                written, in_ruby_text = begin_ruby_text(out, written, block_start)
            elif in_ruby_text:
                written, in_ruby_text = end_ruby_text(out, written), False
        elif kind == IMAGE:
            if flags & FORMULA_IMAGE and formula_end != written:
                start = written
                written = copy_alt(data, name_end, close, out, written)
                if written > start:
                    formula_start, formula_end = start, written
                    mode |= _MARKED | RAW
        elif kind == MATH:
            if not closes and at < no_math_end:
                end = math_end(data, at, n)
                if end < 0:
                    no_math_end = at
                else:
                    formula_start = written
                    written = copy_marked(data, tag_start, end, FORMULA, out, written)
                    formula_end = written
                    mode |= _MARKED | RAW
                    at = end
        else:
            end = written
            if open_pres == 0:
                while end > block_start and (out[end - 1] == _SPACE or out[end - 1] == _NEWLINE):
                    end -= 1
            start, preformatted = block_start, open_pres > 0
            if end > start and not mode & _MARKED and (mode & RAW or preformatted):
                first, last = finish_text(out, start, end, preformatted)
                if first >= 0:
                    start, end, mode, preformatted = first, last, _PLAIN, False
            if end > start:
                blocks[block_count, _START], blocks[block_count, _END] = start, end
                blocks[block_count, _MODE] = mode | (_PREFORMATTED if preformatted else 0)
                blocks[block_count, _ELEMENT], blocks[block_count, _LINKED] = current, linked
                block_count += 1
            block_start = written
            linked, mode, sup_start, raised_spans, in_ruby_text = 0, 0, -1, 0, False
            if kind == BLOCK and not closes:
                if number == DIALOG and not flags & IS_OPEN:
                    flags |= HIDDEN
                elements[element_count, _TAG], elements[element_count, _PARENT] = number, current
                elements[element_count, _FIRST], elements[element_count, _LAST] = block_count, 0
                elements[element_count, _ATTRIBUTES_START] = name_end
                elements[element_count, _ATTRIBUTES_END] = close
                elements[element_count, _FLAGS] = flags
                current = element_count
                element_count += 1
                open_pres += number == PRE
            elif kind == BLOCK and current:
                elements[current, _LAST] = block_count
                open_pres -= elements[current, _TAG] == PRE
                current = elements[current, _PARENT]
    while current:
        elements[current, _LAST] = block_count
        current = elements[current, _PARENT]
    elements[0, _LAST] = block_count
    return element_count, block_count
