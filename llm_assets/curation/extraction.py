"""From a page's bytes to its title and main text. Work is bounded by counts of bytes and tags, never by time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from resiliparse.parse.html import HTMLTree

from llm_assets.recipes import Extraction as Bounds

from .encoding import BodyError, decode_characters
from .main_content import main_content
from .xhtml import MEDIA_TYPE as XHTML
from .xhtml import as_html

DEFAULT_BOUNDS = Bounds()
# The parser's cost is quadratic in a tag's attributes, which only matters for thousands of them: those need a tag of at
# least this many characters.
LONG_TAG_CHARACTERS = 8_192
# From this count on, what looks like a tag may be the "<" of a script or comment, so these are taken out first.
SUSPICIOUS_ATTRIBUTES = 500
_RAW = re.compile(r"<(script|style|textarea)\b.*?</\1|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Extracted:
    """A page's content. `text`, without boilerplate, has a line for each block (paragraph, heading, list item, row)."""

    text: str
    title: str
    encoding: str


def extract(
    html: bytes, charset: str | None = None, bounds: Bounds = DEFAULT_BOUNDS, media_type: str = "text/html"
) -> Extracted:
    """Main text and title of an HTML page.

    html: the page as stored, after content decoding. charset: the one in the HTTP header, if any. media_type: the one
    that decides whether the page is HTML or XHTML, as in browsers; without a header, the detected one.
    A page without text gives an empty text. Raises BodyError (with rule, value and threshold) for a page that exceeds
    `bounds`.
    """
    if len(html) > bounds.max_bytes:
        raise BodyError("too_large", str(len(html)), str(bounds.max_bytes))
    tags = html.count(b"<")
    if tags > bounds.max_tags:
        raise BodyError("too_many_tags", str(tags), str(bounds.max_tags))
    decoded = decode_characters(html, charset)
    markup = decoded.text.replace("\x00", "") if "\x00" in decoded.text else decoded.text
    attributes = _most_attributes(markup)
    if attributes > bounds.max_attributes:
        raise BodyError("too_many_attributes", str(attributes), str(bounds.max_attributes))
    tree = HTMLTree.parse(as_html(markup) if media_type == XHTML else markup)
    title = _SPACE.sub(" ", tree.title or "").strip()
    return Extracted(main_content(tree, title), title, decoded.encoding)


def _most_attributes(markup: str) -> int:
    """About the greatest number of attributes of one tag; 0 where no tag is long enough to have many."""
    greatest, position, end = 0, 0, len(markup)
    while position + LONG_TAG_CHARACTERS < end:
        following = markup.rfind("<", position + 1, position + LONG_TAG_CHARACTERS)
        if following > 0:
            position = following
            continue
        following = markup.find("<", position + 1)
        piece = markup[position : following if following > 0 else end]
        if piece[1:2].isalpha() and not piece[1:7].lower().startswith(("script", "style")):
            greatest = max(greatest, len(_QUOTED.sub("", piece).partition(">")[0].split()))
        if following < 0:
            break
        position = following
    if greatest > SUSPICIOUS_ATTRIBUTES:
        without_scripts = _RAW.sub("", markup)
        if without_scripts != markup:
            return _most_attributes(without_scripts)
    return greatest
