"""From a page's bytes to its title and main text. Work is bounded by counts of bytes and tags, never by time."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from resiliparse.parse.html import HTMLTree

from llm_assets.recipes import Extraction as Bounds

from .encoding import BodyError, decode_characters
from .lean_markup import lean_markup
from .main_content import main_content
from .xhtml import MEDIA_TYPE as XHTML
from .xhtml import as_html

DEFAULT_BOUNDS = Bounds()
_LESS = ord("<")
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
    tags = int(np.count_nonzero(np.frombuffer(html, np.uint8) == _LESS))  # faster than html.count
    if tags > bounds.max_tags:
        raise BodyError("too_many_tags", str(tags), str(bounds.max_tags))
    decoded = decode_characters(html, charset)
    if media_type == XHTML:
        utf8 = as_html(decoded.text).encode("utf-8", "replace")
    else:
        utf8 = html if decoded.is_utf8 else decoded.text.encode("utf-8", "replace")
    lean = lean_markup(utf8)
    # The parser's cost is quadratic in a tag's attributes, which only matters for thousands of them.
    if lean.most_attributes > bounds.max_attributes:
        raise BodyError("too_many_attributes", str(lean.most_attributes), str(bounds.max_attributes))
    tree = HTMLTree.parse(lean.markup)
    title = _SPACE.sub(" ", tree.title or "").strip()
    return Extracted(main_content(tree, title), title, decoded.encoding)
