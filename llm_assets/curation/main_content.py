"""Main content of a parsed page: which blocks of text are the page's own, and which are its frame.

One pass over the serialised tree (`markup.py`) cuts the page into blocks (paragraphs, headings, list items, cells) under
a tree of block elements. Paragraphs vote for the elements around them (after Readability, mozilla/readability); the element
with the most votes is the root, and what in it is links, navigation, sharing, comments or captions is dropped. The
cost is linear in the page; nothing is matched by regular expressions with nested repetition.

What it does not do: it knows no site, runs no script, and reads no microformats.
"""

from __future__ import annotations

import re
from functools import lru_cache

from resiliparse.parse.html import HTMLTree

from .markup import read_blocks

# Elements that never hold main text, removed in the parser's own tree before anything else.
REMOVED = "script,style,noscript,template,svg,iframe,object,audio,video,canvas,button,select,textarea,annotation"
_CLASS = re.compile(r'\b(?:class|id|role|itemprop|data-component|data-testid)="([^"]*)"')

_HEADINGS = frozenset("h1 h2 h3 h4 h5 h6".split())
_FRAME_TAGS = frozenset(["nav", "aside", "footer", "menu", "form", "figure", "figcaption"])

# Names (of class, id, role) that site builders give to a page's frame, as whole words between separators.
_FRAME_WORDS = frozenset(
    """gutter linenos lineno line-numbers linenumbers ad ads advert advertisement advertising adbox adslot banner breadcrumb breadcrumbs byline bylines caption captions cite comment comments commentlist commentlisting
    complementary contentinfo copyright cookie cookies credit credits dateline disqus dropdown feedback filed footer footnav hidden jumplinks legal lightbox login
    masthead menu meta metadata modal mostread mostpopular nav navbar navigation newsletter newsletters outbrain overlay pager pagination paging popular popup postmeta
    print promo promotion promos promoted pullquote rail recirc recommend recommended recommendations related relatedlinks respond rss share sharebar sharebox sharedaddy sharethis sharing shares shopping
    sidebar sidebars gallery slideshow carousel slider signup skip social sociable sponsor sponsored subscribe subscription subnav supplemental taboola tag tags taglist teaser teasers timestamp toc toolbar toolbox tools topbar tweet
    trending upsell utility widget widgets wp-caption yarpp zergnet screen-reader-text sr-only visually-hidden noprint navbox mw-editsection editsection reflist catlinks printfooter author-bio authorbox aboutauthor author-info
    keywords rating ratings reactions""".split()
)
_BODY_WORDS = frozenset(
    "article articlebody article-body articletext body bodytext content entry entry-content entrycontent hentry main maincontent page post post-content postcontent post-body story storybody story-body storytext text blog".split()
)
_ABOUT_ARTICLE = frozenset(["tag", "tags", "author", "category", "type", "status", "format"])
_DIGITS = re.compile(r"\d+")
_HIDDEN = re.compile(r'\s(?:hidden(?:=|\s|$)|aria-hidden="true"|style="[^"]*(?:display:\s*none|visibility:\s*hidden))')
_CAMEL = re.compile(r"([a-z])([A-Z])")

_TITLES = frozenset(["h1", "h2"])
_GROUPS = frozenset(["ul", "ol", "table", "dl"])
CLIMB_SHARE = 0.1  # good text beside the root, as a share of the root's, from which the root is widened
CLIMB_LENGTH = 0.5  # and the mean length of its blocks, as a share of the root's
CLIMB_BLOCK = 80  # bytes of a block that counts for that
CLIMB_LINKS = 0.25  # and the share of links in what is won
LINKED = 0.5  # share of links in a block from which it is one,
UNLINKED = 30  # unless it has this many characters besides
LIST_SHARE = 0.6  # a root with less than this share of the good text around it may be one item of a list
MOST = 0.8  # share of the page's unlinked text that makes a frame's name a mistake
MIN_VOTE = 25  # characters of a block that votes (Readability)
ENOUGH = 250  # characters of result below which a page is read again with fewer rules


_FRAME, _BODY, _BODY_EXACT = 1, 2, 4


@lru_cache(maxsize=65_536)
def _name_weight(name: str) -> int:
    """What one class name or id says: _FRAME, _BODY, _BODY and _BODY_EXACT, or 0."""
    lower = name.lower()
    if lower in _BODY_WORDS:
        return _BODY | _BODY_EXACT
    if lower in _FRAME_WORDS:
        return _FRAME
    if lower != name:
        lower = _CAMEL.sub(r"\1-\2", name).lower()
    if "-" in lower or "_" in lower:
        pieces = lower.replace("_", "-").strip("-").split("-")
        # Blog engines put an article's tags and author into its own class list: tag-x, author-y.
        if pieces[-1] in _FRAME_WORDS or (pieces[0] in _FRAME_WORDS and pieces[0] not in _ABOUT_ARTICLE):
            return _FRAME
        if pieces[0] in _BODY_WORDS or pieces[-1] in _BODY_WORDS:
            return _BODY
    return 0


def _weigh(markup: bytes) -> int:
    """-1 for an element that is hidden or named like a page's frame, 1 for one named like its body, 0 for others."""
    attributes = markup.decode()
    if ("hidden" in attributes or "display" in attributes) and _HIDDEN.search(attributes):
        return -1
    said = 0
    for value in _CLASS.findall(attributes):
        for name in value.split():
            said |= _name_weight(name)
    if said & _FRAME and not said & _BODY_EXACT:
        return -1
    return 1 if said & _BODY else 0


# Sites repeat their templates; a long attribute list (data) is not worth remembering.
_weigh_cached = lru_cache(maxsize=32_768)(_weigh)


class _Page:
    """Blocks of text and the tree of block elements above them (see `markup.Blocks`), with what they weigh."""

    __slots__ = (
        "attributes",
        "block_chars",
        "block_element",
        "block_links",
        "block_text",
        "chars",
        "first",
        "last",
        "links",
        "parent",
        "tag",
        "weight",
    )

    def __init__(self, html: str):
        blocks = read_blocks(html)
        self.tag, self.parent, self.first, self.last, self.attributes = (
            blocks.tag,
            blocks.parent,
            blocks.first,
            blocks.last,
            blocks.attributes,
        )
        self.block_text, self.block_element, self.block_links = blocks.text, blocks.element, blocks.links
        self.weight = [0] * len(self.tag)
        for element, (start, end) in enumerate(blocks.spans):
            if end > start:
                said = blocks.markup[start:end]
                self.weight[element] = _weigh_cached(said) if end - start < 400 else _weigh(said)
        self.block_chars = [len(text) for text in self.block_text]
        chars, links = [0] * len(self.tag), [0] * len(self.tag)
        for element, size, linked in zip(self.block_element, self.block_chars, self.block_links, strict=True):
            chars[element] += size
            links[element] += linked
        for element in range(len(self.tag) - 1, 0, -1):
            chars[self.parent[element]] += chars[element]
            links[self.parent[element]] += links[element]
        self.chars, self.links = chars, links

    def density(self, element: int) -> float:
        """Share of an element's characters that are links."""
        return self.links[element] / self.chars[element] if self.chars[element] else 0.0


def main_content(tree: HTMLTree, title: str = "") -> str:
    """The page's main text, a block a line. Changes the tree (removes scripts and the like from it)."""
    body = tree.body
    if body is None:
        return ""
    for node in body.query_selector_all(REMOVED).values():
        node.remove()
    page = _Page(body.html)
    if not page.block_text:
        return ""
    framed = _framed(page)
    root = _root(page, framed)
    text = _select(page, root, framed, title)
    if len(text) < ENOUGH and page.chars[0] > 2 * len(text):
        relaxed = [False] * len(page.tag)
        other = _select(page, _root(page, relaxed), relaxed, title)
        if len(other) > 2 * len(text):
            text = other
    return text or "\n".join(page.block_text)


def _framed(page: _Page) -> list[bool]:
    """For every element, whether it or one above it is part of the page's frame.

    An element that holds most of the page's unlinked text is no frame, whatever it is called.
    """
    framed = [False] * len(page.tag)
    listing = [tag == "pre" for tag in page.tag]  # it is one, or holds one
    for element in range(len(page.tag) - 1, 0, -1):
        if listing[element]:
            listing[page.parent[element]] = True
    whole = page.chars[0] - page.links[0]
    for element in range(1, len(page.tag)):
        if framed[page.parent[element]]:
            framed[element] = True
        elif page.weight[element] < 0 or (
            page.tag[element] in _FRAME_TAGS and not (page.tag[element] == "figure" and listing[element])
        ):
            own = page.chars[element] - page.links[element]
            framed[element] = own < MOST * whole
    return framed


def _root(page: _Page, framed: list[bool]) -> int:
    """The element with the most votes of paragraphs, or one above it where the text goes on beside it."""
    count = len(page.tag)
    votes = [0.0] * count
    good, paragraphs = [0] * count, [0] * count
    for block, element in enumerate(page.block_element):
        size = page.block_chars[block]
        if size < MIN_VOTE or framed[element] or page.block_links[block] > 0.5 * size:
            continue
        text = page.block_text[block]
        size = len(text.encode())  # a CJK character says about as much as three Latin ones
        if size >= CLIMB_BLOCK:
            good[element] += size
            paragraphs[element] += 1
        vote = 1 + min(text.count(",") + text.count("、") + text.count("，"), 10) + min(size / 100, 6)
        above = element if page.tag[element] not in ("p", "pre", "li", "blockquote") else page.parent[element]
        share = 1.0
        while above and share > 0.1:
            votes[above] += vote * share
            share *= 0.6
            above = page.parent[above]
    best, most = 0, 0.0
    for element in range(1, count):
        if votes[element]:
            bonus = 1.25 if page.weight[element] > 0 or page.tag[element] in ("article", "main") else 1.0
            score = votes[element] * bonus * (1 - page.density(element))
            if score > most:
                best, most = element, score
    for element in range(count - 1, 0, -1):
        good[page.parent[element]] += good[element]
        paragraphs[page.parent[element]] += paragraphs[element]
    children: dict[int, list[int]] = {}  # those with good text; each element is looked at once, however deep the page
    for element in range(1, count):
        if good[element]:
            children.setdefault(page.parent[element], []).append(element)
    root = above = best
    while above:
        child, above = above, page.parent[above]
        more, blocks = good[above] - good[root], paragraphs[above] - paragraphs[root]
        if blocks <= 0 or more <= CLIMB_SHARE * good[root]:
            continue
        alike = more / blocks > CLIMB_LENGTH * good[root] / max(paragraphs[root], 1)
        few_links = page.links[above] - page.links[root] < CLIMB_LINKS * (page.chars[above] - page.chars[root])
        if (alike and few_links) or (
            good[root] < LIST_SHARE * good[above] and _one_of_many(page, child, children[above])
        ):
            root = above
    return root


def _one_of_many(page: _Page, element: int, siblings: list[int]) -> bool:
    """Whether an element is one of at least three with text, side by side and built alike, as the posts of a blog's page are."""
    shape = _shape(page, element)
    return sum(_shape(page, other) == shape for other in siblings) >= 3


def _shape(page: _Page, element: int) -> tuple[str, str]:
    """Tag and first class name, without numbers."""
    names = _CLASS.search(page.attributes(element))
    return page.tag[element], _DIGITS.sub("", names.group(1).split(" ", 1)[0]) if names else ""


def _select(page: _Page, root: int, framed: list[bool], title: str) -> str:
    """The blocks below `root` that are content, a line each."""
    kept: list[int] = []
    whole_title = title.lower()
    for block in range(page.first[root], page.last[root]):
        element = page.block_element[block]
        if framed[element] and not framed[root]:
            continue
        size, linked = page.block_chars[block], page.block_links[block]
        tag = page.tag[element]
        if linked > LINKED * size and size - linked < UNLINKED and tag not in _HEADINGS:
            group = element
            while group != root and page.tag[group] not in _GROUPS:
                group = page.parent[group]
            if group == root or page.density(group) > 0.5:
                continue
        text = page.block_text[block]
        if tag in _TITLES and len(text) > 3 and text.lower() in whole_title:
            continue  # the title has its own column
        kept.append(block)
    # Headings that nothing follows are no content.
    result: list[int] = []
    for block in reversed(kept):
        if page.tag[page.block_element[block]] in _HEADINGS and not result:
            continue
        result.append(block)
    result.reverse()
    return "\n".join(page.block_text[block] for block in result)
