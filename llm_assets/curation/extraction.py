"""From a page's bytes to its title and main text, bounded in work: the bounds count bytes and tags, never time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from resiliparse.parse.html import HTMLTree

from llm_assets.recipes import Extraction as Bounds

from .encoding import BodyError, decode_characters
from .main_content import main_content

DEFAULT_BOUNDS = Bounds()
# A tag of this many characters might hold thousands of attributes; below it the parser's quadratic cost is nothing.
# Scripts and comments hold '<' that open no tag.
LONG_TAG = 8_192
MANY = 500
_RAW = re.compile(r"<(script|style|textarea)\b.*?</\1|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Extracted:
    """What a page says: `text` has one line a block (paragraph, heading, list item, row), without boilerplate."""

    text: str
    title: str
    encoding: str


def extract(html: bytes, charset: str | None = None, bounds: Bounds = DEFAULT_BOUNDS) -> Extracted:
    """Main text and title of an HTML page.

    html: the page as stored, after content decoding. charset: what the HTTP header says, if anything.
    Raises BodyError (with rule, value and threshold) for a page beyond `bounds`; an empty or text-free page gives an
    empty text.
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
    tree = HTMLTree.parse(markup)
    title = _SPACE.sub(" ", tree.title or "").strip()
    return Extracted(main_content(tree, title), title, decoded.encoding)


def _most_attributes(markup: str) -> int:
    """About how many attributes the tag with the most of them has; 0 where no tag is long enough for many."""
    most, position, end = 0, 0, len(markup)
    while position + LONG_TAG < end:
        following = markup.rfind("<", position + 1, position + LONG_TAG)
        if following > 0:
            position = following
            continue
        following = markup.find("<", position + 1)
        piece = markup[position : following if following > 0 else end]
        if piece[1:2].isalpha() and not piece[1:7].lower().startswith(("script", "style")):
            most = max(most, len(_QUOTED.sub("", piece).partition(">")[0].split()))
        if following < 0:
            break
        position = following
    if most > MANY and (raw := _RAW.sub("", markup)) != markup:
        return _most_attributes(raw)  # it may have been a script's '<'
    return most
