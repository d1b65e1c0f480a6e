"""Markup is cut into blocks as a simple reader with regular expressions does it, for any sequence of tags and text."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.curation.markup import read_blocks
from llm_assets.curation.tags import BLOCK_TAGS

# White space in a tag is ASCII's, as in HTML.
TAG = re.compile(r'<(/?[a-zA-Z][^\x09-\x0d\x1c-\x20>/]*+)([^>"]*(?:"[^"]*"[^>"]*)*)>|<!--[\s\S]*?-->')


def write_simply(text, pieces, in_pre):
    """Append text to a block's characters, with ASCII white space collapsed; returns how many were written."""
    before = len(pieces)
    for character in text:
        if character in "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f " and not in_pre:
            if pieces and pieces[-1] not in " \n":
                pieces.append(" ")
        else:
            pieces.append(character)
    return len(pieces) - before


def break_simply(pieces, in_pre):
    if in_pre:
        pieces.append("\n")
    elif pieces and pieces[-1] != "\n":
        if pieces[-1] == " ":
            pieces.pop()
        pieces.append("\n")


def finish_simply(pieces, in_pre):
    text = unescape("".join(pieces))
    if in_pre:
        return "" if text.isspace() else text.strip("\n")
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return "\n".join(line for line in lines if line)


def read_simply(html):
    """Elements (tag, parent, first, last, attributes) and blocks (text, element, link characters)."""
    elements, blocks = [["body", 0, 0, 0, ""]], []
    current, linked, in_link, in_pre, pieces = 0, 0, False, 0, []
    parts = TAG.split(html)
    for name, attributes, text in zip(["", *parts[1::3]], ["", *parts[2::3]], parts[0::3], strict=True):
        tag = (name or "").removeprefix("/")
        if tag in BLOCK_TAGS or tag == "hr":
            joined = finish_simply(pieces, in_pre)
            if joined:
                blocks.append((joined, current, linked))
            pieces, linked = [], 0
            if tag not in ("hr", "body"):
                if name != tag:
                    if current:
                        elements[current][3] = len(blocks)
                        in_pre -= elements[current][0] == "pre"
                        current = elements[current][1]
                else:
                    elements.append([tag, current, len(blocks), 0, attributes])
                    current = len(elements) - 1
                    in_pre += tag == "pre"
        elif tag == "a":
            in_link = name == "a"
        elif name == "br":
            break_simply(pieces, in_pre)
        if text:
            characters = write_simply(text, pieces, in_pre)
            linked += characters if in_link else 0
    while current:
        elements[current][3] = len(blocks)
        current = elements[current][1]
    elements[0][3] = len(blocks)
    return elements, blocks


def read_compiled(html):
    """The same, by the code under test."""
    page = read_blocks(html)
    tags = [BLOCK_TAGS[number] for number in page.tag]
    attributes = [page.attributes(element) for element in range(len(tags))]
    tree = (page.parent.tolist(), page.first.tolist(), page.last.tolist())
    elements = zip(tags, *tree, attributes, strict=True)
    return list(map(list, elements)), list(zip(page.texts(), page.element.tolist(), page.links.tolist(), strict=True))


PIECES = [
    "<p>",
    "</p>",
    '<div class="a > b">',
    "</div>",
    "<pre>",
    "</pre>",
    '<li id="x">',
    "</li>",
    '<a href="/x">',
    "</a>",
    "<b>",
    "</b>",
    "<br>",
    "<hr>",
    '<span data-x="&quot;">',
    "</span>",
    "<body>",
    "</body>",
    "<table>",
    "</table>",
    '<!-- a " comment -->',
    "<!-- open",
    "-->",
    "<",
    ">",
    '"',
    "&amp;",
    "&lt;",
    "&gt;",
    "&nbsp;",
    "&copy;",
    "&",
    "\xa0",
    "\u3000",
    "\u2028",
    "\x1c",
    "\x85",
    " ",
    "\n",
    "  \n ",
    "words",
    "漢字",
    "é",
    "\U0001f600",
    "<p",
    "<3",
    "</",
    '<p class="unclosed',
    "<x-y/>",
    "<P>",
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(alphabet='ab<>/"& \n', max_size=6)), max_size=40))
def test_any_markup_is_cut_as_by_the_simple_reader(pieces):
    html = "".join(pieces)
    assert read_compiled(html) == read_simply(html)


@pytest.mark.parametrize(
    "html",
    [
        "",
        "text",
        "<p>",
        "</p></p></p>",
        "<p>a</p>",
        "<pre>\n a\n  b\n</pre>",
        "<p> <br> </p>",
        "<ul><li>1<ul><li>2</li></ul></li></ul>",
        '<p>a<!-- " -->b</p>',
        '<p title="a>b">c</p>',
        "a<p>b",
        '<a"<p>b',
        '<p"<p class="unclosed<p>b',
    ],
)
def test_small_pages_are_cut_as_by_the_simple_reader(html):
    assert read_compiled(html) == read_simply(html)


@pytest.mark.parametrize(
    "html",
    [
        '<p "' * 200_000,
        "<!--" * 200_000,
        '<p class="x' * 100_000,
        "<" * 800_000,
        '<p>"' * 200_000 + "<",
        "<p>" * 300_000,
        "&" * 500_000,
    ],
    ids=range(7),
)
def test_hostile_markup_is_read_in_one_pass(html):
    """Each of these would take minutes if every "<" looked for its end again."""
    page = read_blocks(html)
    assert len(page.tag) <= html.count("<") + 1
