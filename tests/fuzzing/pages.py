"""Fuzz targets of markup and main content."""

from __future__ import annotations

from resiliparse.parse.html import HTMLTree

from llm_assets.curation.encoding import BodyError
from llm_assets.curation.extraction import extract
from llm_assets.curation.markup import read_blocks
from llm_assets.recipes import Extraction

from .targets import Target

BOUNDS = Extraction(max_bytes=1 << 20, max_tags=20_000, max_attributes=200)
_CHARACTERS_PER_BYTE = 3  # a reference such as &nGt; is longer than its characters


def extract_page(data: bytes) -> None:
    """Any bytes are a page with a text that is no longer than they are, or are refused; twice with the same result."""
    try:
        page = extract(data, None, BOUNDS)
    except BodyError:
        return
    assert extract(data, None, BOUNDS) == page
    for text in (page.text, page.title):
        text.encode()
        assert len(text) <= _CHARACTERS_PER_BYTE * len(data)
    if page.text and b"pre" not in data.replace(b"\0", b"").lower():
        assert all(line == line.strip(" ") and line for line in page.text.split("\n"))


def cut_blocks(data: bytes) -> None:
    """Blocks are in order under a tree of elements, whether the markup comes from a parser or is what it is."""
    text = data.decode("utf-8", "replace").replace("\0", "")
    for markup in (text, str(HTMLTree.parse(text).body or "")):
        blocks = read_blocks(markup)
        texts = blocks.texts()
        assert len(texts) == len(blocks.element) == len(blocks.links)
        assert all(text.strip() for text in texts)
        assert blocks.first[0] == 0 and blocks.last[0] == len(texts)
        for element in range(1, len(blocks.tag)):
            assert 0 <= blocks.parent[element] < element
            assert 0 <= blocks.first[element] <= blocks.last[element] <= len(texts)
            blocks.attributes(element)


def _pages() -> list[bytes]:
    return [
        b"<html><head><title>T</title></head><body><article><h1>T</h1>"
        + b"<p>One sentence, another, and a third one of some length.</p>" * 4
        + b"<ul><li><a href=x>link</a></ul></article><nav>n</nav></body></html>",
        b"<table><tr><td>1<td>2<tr><th colspan=2>head</table><dl><dt>a<dd>b</dl>",
        b"<pre>  code\n    more </pre><p>x<br>y</p><!-- c --><div hidden>h</div>",
        b'<div class="comment-body" style="display:none"><p>a &amp; b&nbsp;c &lt;tag&gt; &#x1F600;</p></div>',
        "<meta charset=utf-8><p>日本語の文章、次の文。</p><p>“ไทย”</p>".encode(),
        b'<p title="a > b">q</p><a <b <c "<p>',
        b"<svg><p>x</svg><math><mi>y</math><template><p>t</template><select><option>o",
        b"<p>10<sup>6</sup> and CO<sub>2</sub> <span style=display:none>x</span></p>",
        *FINDINGS,
    ]


# An element that holds good text between its children, none of which has any; lines of a split tag name; and an element
# whose end tag was hidden by a quotation mark in the name of another.
FINDINGS = [
    b"<table>%st\xdb\x19\x19\x19\x19\x19i><a >\xff\xffmment-bodtr><th>d%s"
    % (b"\xff" * 17, b"\xff" * 14 + b"\r\xff" * 7),
    b"<pr\x00e>e <p",
    b'A<article>One sentence, and a few more words.<h1">',
]

TARGETS = {
    "pages": Target(extract_page, _pages, ("llm_assets.curation",), 250),
    "markup": Target(cut_blocks, _pages, ("llm_assets.curation.markup",), 250),
}
