"""XHTML as HTML: what an XML parser reads, written so that an HTML parser reads the same.

HTML ignores the slash of `<title/>` or `<script src="a.js"/>`, so the rest of the page becomes the element's content.
Nothing here asks for well-formed XML: a page with faults is read as far as HTML goes. The cost is linear in the page.
"""

from __future__ import annotations

import html
import re

MEDIA_TYPE = "application/xhtml+xml"
NAMESPACE = b"http://www.w3.org/1999/xhtml"
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_DOCTYPE = re.compile(r"<!DOCTYPE\b[^\"'\[<>]*(?:\"[^\"]*\"[^\"'\[<>]*|'[^']*'[^\"'\[<>]*)*", re.IGNORECASE)
# What makes elements XHTML's in a page that names them `h:p`.
_PREFIX = re.compile(r"""\sxmlns:([A-Za-z_][\w.-]*)\s*=\s*["']http://www\.w3\.org/1999/xhtml["']""")
_PREFIX_CHARACTERS = 8_192  # from the page's beginning, in which it is looked for
_MARKUP = re.compile(r"<(?:!--|!\[CDATA\[|\?|[A-Za-z_])")
# An XML attribute value holds no "<", so a tag ends before the next one.
_EMPTY_ELEMENT = re.compile(r"<([^\s/>\"'=]+)((?:[^\"'>]|\"[^\"]*\"|'[^']*')*)/>")
_ENDS = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>"}


def as_html(xhtml: str) -> str:
    """The page with end tags for empty elements, references for CDATA sections, and no processing instructions."""
    xhtml = _without_prefix(_without_subset(xhtml))
    pieces, copied, at = [], 0, 0
    missing: set[str] = set()  # ends that do not occur any more
    while opening := _MARKUP.search(xhtml, at):
        begin, at = opening.start(), opening.end()
        if (mark := _ENDS.get(opening[0])) is None:
            following = xhtml.find("<", at)
            following = len(xhtml) if following < 0 else following
            tag = _EMPTY_ELEMENT.match(xhtml, begin, following)
            end, replacement = (tag.end(), _with_end_tag(tag)) if tag else (following, None)
        else:
            close = xhtml.find(mark, at) if mark not in missing else -1
            if close < 0:
                missing.add(mark)
                continue
            end = close + len(mark)
            replacement = {"<!--": None, "<?": ""}.get(opening[0], html.escape(xhtml[at:close], quote=False))
        if replacement is not None:
            pieces += [xhtml[copied:begin], replacement]
            copied = end
        at = end
    return "".join([*pieces, xhtml[copied:]])


def _without_prefix(xhtml: str) -> str:
    """The page with the names of HTML's elements as HTML has them ("Namespaces in XML", section 3)."""
    prefix = _PREFIX.search(xhtml, 0, _PREFIX_CHARACTERS)
    return xhtml if prefix is None else re.sub(rf"(</?){re.escape(prefix[1])}:(?=[A-Za-z])", r"\1", xhtml)


def _with_end_tag(tag: re.Match[str]) -> str | None:
    """An empty element with an end tag; None for one that has none in HTML either."""
    name, attributes = tag[1], tag[2]
    return None if name.lower() in _VOID else f"<{name}{attributes}></{name}>"


def _without_subset(xhtml: str) -> str:
    """The page without the internal subset of its document type, which HTML would show as text."""
    doctype = _DOCTYPE.search(xhtml)
    if doctype is None or xhtml[doctype.end() : doctype.end() + 1] != "[":
        return xhtml
    end = xhtml.find("]", doctype.end())
    close = xhtml.find(">", end)
    return xhtml if end < 0 or close < 0 else xhtml[: doctype.end()] + xhtml[close:]
