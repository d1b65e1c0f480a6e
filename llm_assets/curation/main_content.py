"""Main content of a parsed page: which blocks of text are the page's own, and which belong to its frame.

One pass over the serialised tree (`markup.py`) cuts the page into blocks (paragraphs, headings, list items, cells)
under a tree of block elements. Paragraphs vote for the elements around them (after Readability, mozilla/readability).
The element with the most votes is the root; links, navigation, sharing, comments and captions in it are dropped. The
cost is linear in the page, and no regular expression has nested repetition.

It knows no sites, runs no scripts, and reads no microformats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from resiliparse.parse.html import HTMLTree

from .attributes import ARIA_HIDDEN, BODY, BODY_EXACT, FOR_SCREEN_READERS, FRAME, HIDDEN, SIDEBAR
from .markup import Blocks, read_blocks

_CLASS = re.compile(r'\bclass="([^"]*)"')

_HEADINGS = frozenset("h1 h2 h3 h4 h5 h6".split())
_FRAME_TAGS = frozenset(["nav", "aside", "footer", "menu", "form", "figure", "figcaption", "dialog"])
_CELLS = frozenset(["td", "th"])
_HIDING = HIDDEN | ARIA_HIDDEN | FOR_SCREEN_READERS

_DIGITS = re.compile(r"\d+")
_TITLES = frozenset(["h1", "h2"])
# Parts of a text, which are no root.
_PARTS = frozenset("p pre blockquote li ul ol dd dt dl".split())
_GROUPS = frozenset(["ul", "ol", "table", "dl"])
# An element above the root can replace it only if that adds more than this share of the root's good text.
CLIMB_SHARE = 0.1
# The added blocks must be longer on average than this share of the mean length of the root's blocks.
CLIMB_LENGTH = 0.2
# Less than this share of the added text may be links.
CLIMB_LINKS = 0.25
# Only blocks of at least this many bytes count as good text.
CLIMB_BLOCK_BYTES = 50
# A block is a link if more than this share of its characters is linked.
LINK_BLOCK_SHARE = 0.5
# A block with at least this many unlinked characters is never a link.
LINK_BLOCK_OTHER_CHARACTERS = 20
# A root with less than this share of the good text of an element above it may be one item of a list.
LIST_SHARE = 0.6
# An element with at least this share of the page's unlinked text is never a frame, whatever its name.
MAX_FRAME_SHARE = 0.8
BOX_LINKS = 0.2  # a box in a text has a smaller share of links
MIN_VOTE_CHARACTERS = 25  # of a block that votes (Readability)
SHORT_RESULT_CHARACTERS = 400  # a page with a shorter result is read again with fewer rules
TITLED_CHARACTERS = 1_500  # a shorter text is kept with the heading that is its title
HEADING_DISTANCE = 3  # blocks before a short text among which its headings are looked for
_MIN_SIBLINGS = 3  # of one shape, to be the items of a list
_TITLE_SEPARATOR = re.compile(r"\s+[|\-–—·•:»«/]+\s+|\s*[|»«]\s*|:\s+")


class _Page:
    """Blocks of text and the tree of block elements above them (see `markup.Blocks`), with weights and sizes."""

    __slots__ = (
        "attributes",
        "block_chars",
        "block_element",
        "block_links",
        "block_text",
        "chars",
        "first",
        "flags",
        "last",
        "links",
        "parent",
        "tag",
    )

    def __init__(self, blocks: Blocks):
        self.tag, self.parent, self.first, self.last = blocks.tag, blocks.parent, blocks.first, blocks.last
        self.attributes = blocks.attributes
        self.block_text, self.block_element, self.block_links = blocks.text, blocks.element, blocks.links
        self.flags = blocks.flags
        self.block_chars = [len(text) for text in self.block_text]
        # Characters and linked characters of each element, those of the elements in it included.
        chars, links = [0] * len(self.tag), [0] * len(self.tag)
        for element, size, linked in zip(self.block_element, self.block_chars, self.block_links, strict=True):
            chars[element] += size
            links[element] += linked
        for element in range(len(self.tag) - 1, 0, -1):
            chars[self.parent[element]] += chars[element]
            links[self.parent[element]] += links[element]
        self.chars, self.links = chars, links

    def link_density(self, element: int) -> float:
        """Share of an element's characters that are links."""
        return self.links[element] / self.chars[element] if self.chars[element] else 0.0


def main_content(tree: HTMLTree, title: str = "") -> str:
    """The page's main text: a line for each block, and for each row of a table; a block's `br` are line breaks."""
    body = tree.body
    if body is None:
        return ""
    html = body.html
    page = _Page(read_blocks(html))
    hidden = _find_hidden(page)
    in_frame = _find_frame(page, hidden)
    text = _select(page, _find_root(page, in_frame), in_frame, title)
    if len(text) < SHORT_RESULT_CHARACTERS and page.chars[0] > 2 * len(text):
        # Less and less is left out: nothing but the frame, as for a list of links; then only what is hidden.
        for left_out, root in ((in_frame, 0), (hidden, _find_root(page, hidden))):
            longer = _select(page, root, left_out, title, with_links=root == 0)
            if len(longer) > 2 * len(text):
                text = longer
    return text or "\n".join(page.block_text) or "\n".join(read_blocks(html, with_hidden=True).text)


def _find_hidden(page: _Page) -> list[bool]:
    """For every element, whether it or one above it is hidden. A page shows most of its text, or a script will."""
    hidden = [False] * len(page.tag)
    limit = MAX_FRAME_SHARE * (page.chars[0] - page.links[0])
    for element in range(1, len(page.tag)):
        if hidden[page.parent[element]]:
            hidden[element] = True
        elif page.flags[element] & _HIDING:
            hidden[element] = page.chars[element] - page.links[element] < limit
    return hidden


def _find_frame(page: _Page, hidden: list[bool]) -> list[bool]:
    """For every element, whether it or one above it is hidden or belongs to the page's frame."""
    in_frame = list(hidden)
    has_listing = [tag == "pre" for tag in page.tag]  # the element is a `pre`, or holds one
    for element in range(len(page.tag) - 1, 0, -1):
        if has_listing[element]:
            has_listing[page.parent[element]] = True
    limit = MAX_FRAME_SHARE * (page.chars[0] - page.links[0])
    for element in range(1, len(page.tag)):
        tag = page.tag[element]
        if in_frame[page.parent[element]]:
            in_frame[element] = True
        elif ((page.flags[element] & (FRAME | BODY_EXACT)) == FRAME and not _is_box(page, element)) or (
            tag in _FRAME_TAGS and not (tag == "figure" and has_listing[element])
        ):
            in_frame[element] |= page.chars[element] - page.links[element] < limit
    return in_frame


def _is_box(page: _Page, element: int) -> bool:
    """Whether an element named "sidebar" is a box in a text: prose between two blocks of prose."""
    first, last = page.first[element], page.last[element]
    if not page.flags[element] & SIDEBAR or not 0 < first < last < len(page.block_text):
        return False
    around = [page.block_element[first - 1], page.block_element[last]]
    return page.link_density(element) < BOX_LINKS and all(
        page.parent[element] in (page.parent[beside], page.parent[page.parent[beside]]) for beside in around
    )


@dataclass
class _Votes:
    """Of every element: votes, and the bytes and number of its good blocks, those of the elements in it included."""

    votes: list[float]
    good: list[int]
    paragraphs: list[int]


def _find_root(page: _Page, in_frame: list[bool]) -> int:
    """The element with the most votes of paragraphs, or one above it if the text continues beside it."""
    counted = _count_votes(page, in_frame)
    votes, good, paragraphs = counted.votes, counted.good, counted.paragraphs
    best, best_score = 0, 0.0
    for element in range(1, len(page.tag)):
        if votes[element]:
            is_article = page.flags[element] & BODY or page.tag[element] in ("article", "main")
            bonus = 1.25 if is_article else 1.0
            score = votes[element] * bonus * (1 - page.link_density(element))
            if score > best_score:
                best, best_score = element, score
    for element in range(len(page.tag) - 1, 0, -1):
        good[page.parent[element]] += good[element]
        paragraphs[page.parent[element]] += paragraphs[element]
    while page.tag[best] in _PARTS and best:
        best = page.parent[best]
    return _climb(page, best, counted)


def _count_votes(page: _Page, in_frame: list[bool]) -> _Votes:
    """Votes of every block for the elements above it; good blocks of each element without those of the ones in it."""
    count = len(page.tag)
    votes, good, paragraphs = [0.0] * count, [0] * count, [0] * count
    for block, element in enumerate(page.block_element):
        size = page.block_chars[block]
        if size < MIN_VOTE_CHARACTERS or in_frame[element] or page.block_links[block] > 0.5 * size:
            continue
        text = page.block_text[block]
        size = len(text.encode())  # a CJK character says about as much as three Latin ones
        if size >= CLIMB_BLOCK_BYTES:
            good[element] += size
            paragraphs[element] += 1
        vote = 1 + min(text.count(",") + text.count("、") + text.count("，"), 10) + min(size / 100, 6)
        is_paragraph = page.last[element] - page.first[element] == 1
        above = page.parent[element] if is_paragraph or page.tag[element] in _PARTS else element
        share = 1.0
        while above and share > 0.1:
            votes[above] += vote * share
            share *= 0.6
            above = page.parent[above]
    return _Votes(votes, good, paragraphs)


def _climb(page: _Page, best: int, counted: _Votes) -> int:
    """The element above `best` that holds the rest of its text, or `best`."""
    good, paragraphs = counted.good, counted.paragraphs
    # Children with good text. Each element is visited once, however deep the page.
    children: dict[int, list[int]] = {}
    for element in range(1, len(page.tag)):
        if good[element]:
            children.setdefault(page.parent[element], []).append(element)
    root = above = best
    while above:
        child, above = above, page.parent[above]
        won, won_blocks = good[above] - good[root], paragraphs[above] - paragraphs[root]
        if won_blocks <= 0 or won <= CLIMB_SHARE * good[root]:
            continue
        links, chars = page.links[above] - page.links[root], page.chars[above] - page.chars[root]
        similar = won / won_blocks > CLIMB_LENGTH * good[root] / max(paragraphs[root], 1)
        few_links = links < CLIMB_LINKS * chars
        small = good[root] < LIST_SHARE * good[above]
        if (similar and few_links) or (small and _is_list_item(page, child, children.get(above, []))):
            root = above
    return root


def _is_list_item(page: _Page, element: int, siblings: list[int]) -> bool:
    """Whether an element is one of at least three siblings of one shape with text, like the posts of a blog's page."""
    shape = _shape(page, element)
    return sum(_shape(page, sibling) == shape for sibling in siblings) >= _MIN_SIBLINGS


def _shape(page: _Page, element: int) -> tuple[str, str]:
    """Tag and first class name, without numbers."""
    names = _CLASS.search(page.attributes(element))
    return page.tag[element], _DIGITS.sub("", names.group(1).split(" ", 1)[0]) if names else ""


def _select(page: _Page, root: int, in_frame: list[bool], title: str, with_links: bool = False) -> str:
    """The blocks below `root` that are content, a line for each. with_links: lists of links too."""
    is_short = page.chars[root] < TITLED_CHARACTERS
    titles = frozenset() if is_short else _title_forms(title)
    selected = _headings_before(page, root, in_frame) if is_short else []
    for block in range(page.first[root], page.last[root]):
        element = page.block_element[block]
        if in_frame[element] and not in_frame[root]:
            continue
        if page.block_links[block] and not with_links and _is_link_list(page, block, root):
            continue
        tag = page.tag[element]
        if titles and tag in _TITLES and " ".join(page.block_text[block].split()).casefold() in titles:
            continue  # the title is a column of the table
        if tag not in _HEADINGS and page.block_chars[block] >= MIN_VOTE_CHARACTERS:
            titles = frozenset()  # what follows the first paragraph heads a section
        selected.append(block)
    # Headings at the end, with no text after them, are no content.
    while selected and page.tag[page.block_element[selected[-1]]] in _HEADINGS:
        selected.pop()
    return "\n".join(_lines(page, selected))


def _headings_before(page: _Page, root: int, in_frame: list[bool]) -> list[int]:
    """The headings shortly before a root, with nothing but a date or the like between."""
    start = page.first[root]
    before = range(max(start - HEADING_DISTANCE, 0), start)
    return [
        block
        for block in before
        if page.tag[page.block_element[block]] in _HEADINGS
        and not in_frame[page.block_element[block]]
        and all(page.block_chars[between] < CLIMB_BLOCK_BYTES for between in range(block + 1, start))
    ]


def _title_forms(title: str) -> frozenset[str]:
    """The title, and the title without the site's name before or behind it, in small letters."""
    parts = [part for part in _TITLE_SEPARATOR.split(title) if part]
    forms = {title.casefold()}
    at = 0
    for part in parts:
        at = title.index(part, at)
        forms |= {title[at:].casefold(), title[: at + len(part)].casefold()}
        at += len(part)
    return frozenset(form for form in forms if form)


def _lines(page: _Page, blocks: list[int]) -> list[str]:
    """A line for each block, and one for the cells of a table's row that hold one block each, with tabs between."""
    lines: list[str] = []
    row = -1
    for block in blocks:
        element, text = page.block_element[block], page.block_text[block]
        tag = page.tag[element]
        if tag in _CELLS and page.last[element] - page.first[element] == 1:
            text = text.replace("\n", " ")
            if page.parent[element] == row:
                lines[-1] += f"\t{text}"
                continue
            row = page.parent[element]
        else:
            row = -1
            if tag in _HEADINGS:
                text = text.replace("\n", " ")
        lines.append(text)
    return lines


def _is_link_list(page: _Page, block: int, root: int) -> bool:
    """Whether a block is a link in a list of links, or alone in `root`."""
    size, linked = page.block_chars[block], page.block_links[block]
    element = page.block_element[block]
    is_link = linked > LINK_BLOCK_SHARE * size and size - linked < LINK_BLOCK_OTHER_CHARACTERS
    if not is_link or page.tag[element] in _HEADINGS:
        return False
    group = element
    while group != root and page.tag[group] not in _GROUPS:
        group = page.parent[group]
    return group == root or page.link_density(group) > 0.5
