"""Main content of a parsed page: which blocks of text are the page's own, and which belong to its frame.

One pass over the serialised tree (`markup.py`) cuts the page into blocks (paragraphs, headings, list items, cells)
under a tree of block elements. Paragraphs vote for the elements around them (after Readability, mozilla/readability).
The element with the most votes is the root; links, navigation, sharing, comments and captions in it are dropped. The
cost is linear in the page, and no regular expression has nested repetition.

It knows no sites, runs no scripts, and reads no microformats.
"""

from __future__ import annotations

import re

import numpy as np
from resiliparse.parse.html import HTMLTree

from .content_votes import (
    CLIMB_BLOCK_BYTES,
    HEADING,
    MIN_VOTE_CHARACTERS,
    TAG_SETS,
    TITLE,
    Page,
    Votes,
    content_blocks,
    count_votes,
    measure,
    write_lines,
)
from .markup import Blocks, read_blocks

_CLASS = re.compile(r'\bclass="([^"]*)"')
_DIGITS = re.compile(r"\d+")
# An element above the root can replace it only if that adds more than this share of the root's good text.
CLIMB_SHARE = 0.1
# The added blocks must be longer on average than this share of the mean length of the root's blocks.
CLIMB_LENGTH = 0.2
# Less than this share of the added text may be links.
CLIMB_LINKS = 0.25
# A root with less than this share of the good text of an element above it may be one item of a list.
LIST_SHARE = 0.6
SHORT_RESULT_CHARACTERS = 400  # a page with a shorter result is read again with fewer rules
TITLED_CHARACTERS = 1_500  # a shorter text is kept with the heading that is its title
HEADING_DISTANCE = 3  # blocks before a short text among which its headings are looked for
_MIN_SIBLINGS = 3  # of one shape, to be the items of a list
_LONGEST_TITLE = 2_000  # characters; with the forms of a longer one, memory grows with the square of it
_TITLE_SEPARATOR = re.compile(r"\s+[|\-–—·•:»«/]+\s+|\s*[|»«]\s*|:\s+")


def main_content(tree: HTMLTree, title: str = "") -> str:
    """The page's main text: a line for each block, and for each row of a table; a block's `br` are line breaks."""
    body = tree.body
    if body is None:
        return ""
    html = body.html
    blocks = read_blocks(html)
    page = _page(blocks)
    hidden, in_frame = measure(page)
    text = _select(blocks, page, _find_root(blocks, page, in_frame), in_frame, title)
    if len(text) < SHORT_RESULT_CHARACTERS and page.chars[0] > 2 * len(text):
        # Less and less is left out: nothing but the frame, as for a list of links; then only what is hidden.
        for left_out, root in ((in_frame, 0), (hidden, _find_root(blocks, page, hidden))):
            longer = _select(blocks, page, root, left_out, title, with_links=root == 0)
            if len(longer) > 2 * len(text):
                text = longer
    return text or "\n".join(blocks.texts()) or "\n".join(read_blocks(html, with_hidden=True).texts())


def _page(blocks: Blocks) -> Page:
    elements, count = len(blocks.tag), len(blocks.starts)
    return Page(
        sets=TAG_SETS[blocks.tag],
        parent=blocks.parent,
        first=blocks.first,
        last=blocks.last,
        flags=blocks.flags,
        chars=np.empty(elements, np.int64),
        links=np.empty(elements, np.int64),
        block_element=blocks.element,
        block_chars=np.empty(count, np.int32),
        block_links=blocks.links,
        block_starts=blocks.starts,
        block_ends=blocks.ends,
        text=np.frombuffer(blocks.written, np.uint8),
    )


def _find_root(blocks: Blocks, page: Page, left_out: np.ndarray) -> int:
    """The element with the most votes of paragraphs, or one above it if the text continues beside it."""
    votes = Votes(*count_votes(page, left_out))
    path = [votes.best]
    while path[-1]:
        path.append(int(page.parent[path[-1]]))
    good, paragraphs, links, chars = (
        column[path].tolist() for column in (votes.good, votes.paragraphs, page.links, page.chars)
    )
    root = 0  # its place in the path
    for above in range(1, len(path)):
        won, won_blocks = good[above] - good[root], paragraphs[above] - paragraphs[root]
        if won_blocks <= 0 or won <= CLIMB_SHARE * good[root]:
            continue
        similar = won / won_blocks > CLIMB_LENGTH * good[root] / max(paragraphs[root], 1)
        few_links = links[above] - links[root] < CLIMB_LINKS * (chars[above] - chars[root])
        small = good[root] < LIST_SHARE * good[above]
        if (similar and few_links) or (small and _is_list_item(blocks, path[above - 1], votes.good)):
            root = above
    return path[root]


def _is_list_item(blocks: Blocks, element: int, good: np.ndarray) -> bool:
    """Whether an element is one of at least three siblings of one shape with text, like the posts of a blog's page."""
    shape = _shape(blocks, element)
    siblings = np.flatnonzero((blocks.parent == blocks.parent[element]) & (good > 0) & (blocks.tag == shape[0]))
    return sum(_shape(blocks, sibling) == shape for sibling in siblings.tolist() if sibling) >= _MIN_SIBLINGS


def _shape(blocks: Blocks, element: int) -> tuple[int, str]:
    """Tag and first class name, without numbers."""
    names = _CLASS.search(blocks.attributes(element))
    return int(blocks.tag[element]), _DIGITS.sub("", names.group(1).split(" ", 1)[0]) if names else ""


def _select(blocks: Blocks, page: Page, root: int, left_out: np.ndarray, title: str, with_links: bool = False) -> str:
    """The blocks below `root` that are content, a line for each. with_links: lists of links too."""
    selected = content_blocks(page, root, left_out, with_links).tolist()
    if page.chars[root] < TITLED_CHARACTERS:
        selected = _headings_before(page, root, left_out) + selected
    else:
        selected = _without_title(blocks, page, selected, _title_forms(title))
    # Headings at the end, with no text after them, are no content.
    while selected and page.sets[page.block_element[selected[-1]]] & HEADING:
        selected.pop()
    return write_lines(page, np.array(selected, np.int32)).tobytes().decode()


def _headings_before(page: Page, root: int, left_out: np.ndarray) -> list[int]:
    """The headings shortly before a root, with nothing but a date or the like between."""
    start = int(page.first[root])
    before = range(max(start - HEADING_DISTANCE, 0), start)
    return [
        block
        for block in before
        if page.sets[page.block_element[block]] & HEADING
        and not left_out[page.block_element[block]]
        and (page.block_chars[block + 1 : start] < CLIMB_BLOCK_BYTES).all()
    ]


def _without_title(blocks: Blocks, page: Page, selected: list[int], titles: frozenset[str]) -> list[int]:
    """Blocks without the headings before the first paragraph that are the title, which is a column of the table."""
    if not titles:
        return selected
    others = []
    for place, block in enumerate(selected):
        sets = page.sets[page.block_element[block]]
        if sets & TITLE and " ".join(blocks.text(block).split()).casefold() in titles:
            continue
        if not sets & HEADING and page.block_chars[block] >= MIN_VOTE_CHARACTERS:
            return others + selected[place:]
        others.append(block)
    return others


def _title_forms(title: str) -> frozenset[str]:
    """The title, and the title without the site's name before or after it, in small letters."""
    parts = [part for part in _TITLE_SEPARATOR.split(title) if part] if len(title) <= _LONGEST_TITLE else []
    forms = {title.casefold()}
    at = 0
    for part in parts:
        at = title.index(part, at)
        forms |= {title[at:].casefold(), title[: at + len(part)].casefold()}
        at += len(part)
    return frozenset(form for form in forms if form)
