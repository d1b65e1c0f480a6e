"""Votes of a page's paragraphs for the elements around them (after Readability, mozilla/readability), in compiled code.

`main_content.py` decides with what is counted here. All costs are linear in the page.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llm_assets.compiled import compiled, inlined

from .attributes import (
    ARIA_HIDDEN,
    BODY,
    BODY_EXACT,
    CONSENT,
    FOR_SCREEN_READERS,
    FRAME,
    HIDDEN,
    LINE_NUMBERS,
    SIDEBAR,
)
from .tags import BLOCK_TAGS

# Only blocks of at least this many bytes count as good text.
CLIMB_BLOCK_BYTES = 50
# A block is a link if more than this share of its characters is linked.
LINK_BLOCK_SHARE = 0.5
# A block with at least this many unlinked characters is never a link.
LINK_BLOCK_OTHER_CHARACTERS = 20
# An element with at least this share of the page's unlinked text is never a frame, whatever its name.
MAX_FRAME_SHARE = 0.8
BOX_LINKS = 0.2  # a box in a text has a smaller share of links
MIN_VOTE_CHARACTERS = 25  # of a block that votes (Readability)
_HIDING = HIDDEN | ARIA_HIDDEN | FOR_SCREEN_READERS

_TAB, _NEWLINE, _SPACE = 9, 10, 32

HEADING, TITLE, CELL = 1, 2, 4
_FRAME_TAG, _PART, _GROUP, _ARTICLE, _FIGURE, _PRE = 8, 16, 32, 64, 128, 256
_TAG_SETS = {
    HEADING: "h1 h2 h3 h4 h5 h6",
    TITLE: "h1 h2",
    CELL: "td th",
    _FRAME_TAG: "nav aside footer menu form figure figcaption dialog",
    _PART: "p pre blockquote li ul ol dd dt dl",  # parts of a text, which are no root
    _GROUP: "ul ol table dl",
    _ARTICLE: "article main",
    _FIGURE: "figure",
    _PRE: "pre",
}
# Sets that a block tag belongs to, as flags, by its number.
TAG_SETS = np.array([sum(flag for flag, names in _TAG_SETS.items() if tag in names.split()) for tag in BLOCK_TAGS])


class Page(NamedTuple):
    """A page's tree of block elements and its blocks, as compiled code reads them.

    Of n elements (int32, int64 for chars and links): the sets of their tags, parent, first block in it and first after
    it, flags of `attributes.py`; characters and linked characters, those of the elements in it included. Of each block
    (int32): its element, characters, linked characters, and where its UTF-8 begins and ends in `text` (uint8).
    """

    sets: np.ndarray
    parent: np.ndarray
    first: np.ndarray
    last: np.ndarray
    flags: np.ndarray
    chars: np.ndarray
    links: np.ndarray
    block_element: np.ndarray
    block_chars: np.ndarray
    block_links: np.ndarray
    block_starts: np.ndarray
    block_ends: np.ndarray
    text: np.ndarray


class Votes(NamedTuple):
    """The element with the most votes, and the bytes and number of every element's good blocks, those in it included.

    good, paragraphs: int64, (elements,).
    """

    best: int
    good: np.ndarray
    paragraphs: np.ndarray


@compiled
def measure(page):  # type: ignore[no-untyped-def]
    """Fill the characters of a page's blocks, and the characters and linked characters of its elements.

    Returns which elements are hidden, and which belong to the page's frame, as `_find_hidden` and `_find_frame` do.
    """
    page.chars[:] = 0
    page.links[:] = 0
    for block in range(len(page.block_element)):
        characters = 0
        for at in range(page.block_starts[block], page.block_ends[block]):
            characters += (page.text[at] & 0xC0) != 0x80
        page.block_chars[block] = characters
        page.chars[page.block_element[block]] += characters
        page.links[page.block_element[block]] += page.block_links[block]
    for element in range(len(page.parent) - 1, 0, -1):
        page.chars[page.parent[element]] += page.chars[element]
        page.links[page.parent[element]] += page.links[element]
    hidden = _find_hidden(page)
    return hidden, _find_frame(page, hidden)


@inlined
def _link_density(page, element):  # type: ignore[no-untyped-def]
    """Share of an element's characters that are links."""
    return page.links[element] / page.chars[element] if page.chars[element] else 0.0


@compiled
def _find_hidden(page):  # type: ignore[no-untyped-def]
    """For every element, whether it or one above it is hidden. A page shows most of its text, or a script will, unless
    that is the dialog of a consent manager.
    """
    hidden = np.zeros(len(page.parent), np.bool_)
    limit = MAX_FRAME_SHARE * (page.chars[0] - page.links[0])
    for element in range(1, len(page.parent)):
        if hidden[page.parent[element]] or page.flags[element] & CONSENT:
            hidden[element] = True
        elif page.flags[element] & _HIDING or (page.flags[element] & LINE_NUMBERS and page.sets[element] & CELL):
            hidden[element] = page.chars[element] - page.links[element] < limit
    return hidden


@compiled
def _find_frame(page, hidden):  # type: ignore[no-untyped-def]
    """For every element, whether it or one above it is hidden or belongs to the page's frame."""
    in_frame = hidden.copy()
    has_listing = (page.sets & _PRE) != 0  # the element is a `pre`, or holds one
    for element in range(len(page.parent) - 1, 0, -1):
        if has_listing[element]:
            has_listing[page.parent[element]] = True
    limit = MAX_FRAME_SHARE * (page.chars[0] - page.links[0])
    for element in range(1, len(page.parent)):
        sets = page.sets[element]
        if in_frame[page.parent[element]]:
            in_frame[element] = True
        elif ((page.flags[element] & (FRAME | BODY_EXACT)) == FRAME and not _is_box(page, element)) or (
            sets & _FRAME_TAG and not (sets & _FIGURE and has_listing[element])
        ):
            in_frame[element] |= page.chars[element] - page.links[element] < limit
    return in_frame


@compiled
def _is_box(page, element):  # type: ignore[no-untyped-def]
    """Whether an element named "sidebar" is a box in a text: prose between two blocks of prose."""
    first, last = page.first[element], page.last[element]
    if not page.flags[element] & SIDEBAR or not 0 < first < last < len(page.block_element):
        return False
    above = page.parent[element]
    before, after = page.parent[page.block_element[first - 1]], page.parent[page.block_element[last]]
    is_beside = above in (before, page.parent[before]) and above in (after, page.parent[after])
    return is_beside and _link_density(page, element) < BOX_LINKS


@compiled
def count_votes(page, left_out):  # type: ignore[no-untyped-def]
    """The Votes of the blocks that are not in an element of `left_out`."""
    count = len(page.parent)
    votes, good, paragraphs = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
    for block in range(len(page.block_element)):
        element, characters = page.block_element[block], page.block_chars[block]
        if characters < MIN_VOTE_CHARACTERS or left_out[element] or page.block_links[block] > 0.5 * characters:
            continue
        start, end = page.block_starts[block], page.block_ends[block]
        size = end - start  # a CJK character says about as much as three Latin ones
        if size >= CLIMB_BLOCK_BYTES:
            good[element] += size
            paragraphs[element] += 1
        vote = 1 + min(_commas(page.text, start, end), 10) + min(size / 100, 6.0)
        is_paragraph = page.last[element] - page.first[element] == 1
        above = page.parent[element] if is_paragraph or page.sets[element] & _PART else element
        share = 1.0
        while above and share > 0.1:
            votes[above] += vote * share
            share *= 0.6
            above = page.parent[above]
    best = _most_votes(page, votes)
    for element in range(count - 1, 0, -1):
        good[page.parent[element]] += good[element]
        paragraphs[page.parent[element]] += paragraphs[element]
    return Votes(best, good, paragraphs)


@compiled
def _commas(text, start, end):  # type: ignore[no-untyped-def]
    """Commas in text[start:end]: ``,``, ``、`` (E3 80 81) and ``，`` (EF BC 8C)."""
    count = 0
    for at in range(start, end):
        count += text[at] == 44
    for at in range(start, end - 2):
        count += (text[at] == 0xE3) & (text[at + 1] == 0x80) & (text[at + 2] == 0x81)
        count += (text[at] == 0xEF) & (text[at + 1] == 0xBC) & (text[at + 2] == 0x8C)
    return count


@compiled
def _most_votes(page, votes):  # type: ignore[no-untyped-def]
    """The element with the most votes; an article's count more, and links take votes away. No part of a text."""
    best, best_score = 0, 0.0
    for element in range(1, len(votes)):
        if votes[element]:
            is_article = page.flags[element] & BODY or page.sets[element] & _ARTICLE
            bonus = 1.25 if is_article else 1.0
            score = votes[element] * bonus * (1 - _link_density(page, element))
            if score > best_score:
                best, best_score = element, score
    while page.sets[best] & _PART and best:
        best = page.parent[best]
    return best


@compiled
def content_blocks(page, root, left_out, with_links):  # type: ignore[no-untyped-def]
    """The blocks (int32) below `root` that are not in an element of `left_out`, unless `root` itself is, nor links in a
    list of links. with_links: these too."""
    blocks = np.empty(page.last[root] - page.first[root], np.int32)
    count = 0
    for block in range(page.first[root], page.last[root]):
        if left_out[page.block_element[block]] and not left_out[root]:
            continue
        if page.block_links[block] and not with_links and _is_link_list(page, block, root):
            continue
        blocks[count] = block
        count += 1
    return blocks[:count]


@compiled
def _is_link_list(page, block, root):  # type: ignore[no-untyped-def]
    """Whether a block is a link in a list of links, or alone in `root`."""
    characters, linked = page.block_chars[block], page.block_links[block]
    element = page.block_element[block]
    is_link = linked > LINK_BLOCK_SHARE * characters and characters - linked < LINK_BLOCK_OTHER_CHARACTERS
    if not is_link or page.sets[element] & HEADING:
        return False
    group = element
    while group != root and not page.sets[group] & _GROUP:
        group = page.parent[group]
    return group == root or _link_density(page, group) > 0.5


@compiled
def write_lines(page, blocks):  # type: ignore[no-untyped-def]
    """The UTF-8 (uint8) of blocks: a line for each, and one for the cells of a table's row that hold one block each,
    with tabs between. Line breaks in cells and headings become spaces."""
    size = len(blocks)
    for block in blocks:
        size += page.block_ends[block] - page.block_starts[block]
    lines = np.empty(size, np.uint8)
    written, row = 0, -1
    for block in blocks:
        element = page.block_element[block]
        sets, parent = page.sets[element], page.parent[element]
        is_cell = sets & CELL and page.last[element] - page.first[element] == 1
        if written:
            lines[written - 1] = _TAB if is_cell and parent == row else _NEWLINE
        row = parent if is_cell else -1
        for at in range(page.block_starts[block], page.block_ends[block]):
            byte = page.text[at]
            lines[written] = _SPACE if byte == _NEWLINE and (is_cell or sets & HEADING) else byte
            written += 1
        written += 1  # for what parts it from the next block
    return lines[: max(written - 1, 0)]
