"""XHTML is read as browsers read it: by the media type with which it is served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.curation.extracted_text import _extract_page
from llm_assets.curation.extraction import extract
from llm_assets.curation.xhtml import MEDIA_TYPE, NAMESPACE, as_html
from llm_assets.recipes import Extraction

SENTENCE = "The ferry leaves at eight in the morning, and it comes back in the evening with the mail."
HEAD = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head>'
EMPTY = ["<title/>", '<script src="a.js"/>', '<style type="text/css" />', "<title lang='a>b'/>"]


def text_of(page: str) -> str:
    return extract(page.encode(), media_type=MEDIA_TYPE).text


@pytest.mark.parametrize("element", EMPTY)
def test_an_empty_element_in_the_head_ends_where_xml_ends_it(element):
    """XML 1.0, 3.1: an empty-element tag is a whole element. In HTML (13.1.2) the slash means nothing there."""
    page = f"{HEAD}{element}</head><body><p>{SENTENCE}</p></body></html>"
    assert text_of(page) == SENTENCE
    assert SENTENCE not in extract(page.encode()).text


@pytest.mark.parametrize(
    "element", ["<textarea/>", '<iframe src="/x"/>', "<div/>", '<a id="top"/>', "<object data='x'/>"]
)
def test_an_empty_element_in_the_body_swallows_nothing(element):
    assert text_of(f"{HEAD}<title>A</title></head><body>{element}<p>{SENTENCE}</p></body></html>") == SENTENCE


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<br/>b", "a<br/>b"),
        ("<![CDATA[a < b & c]]>", "a &lt; b &amp; c"),
        ("<?php echo '>' ?>a", "a"),
        ('<!DOCTYPE html [<!ENTITY x "y">]><p>a</p>', "<!DOCTYPE html ><p>a</p>"),
        ("<!-- <p/> --><p/>", "<!-- <p/> --><p></p>"),
        ("a &nbsp; &lt; b", "a &nbsp; &lt; b"),
        ("1 < 2 <b>c", "1 < 2 <b>c"),  # faults stay as they are
    ],
)
def test_xml_is_written_as_html(markup, text):
    assert as_html(markup) == text


def test_elements_may_have_a_prefix():
    """Namespaces in XML 1.0, section 3: the prefix is the author's choice."""
    page = f'<?xml version="1.0"?><h:html xmlns:h="{NAMESPACE.decode()}"><h:head><h:title>A</h:title></h:head>'
    extracted = extract(f"{page}<h:body><h:p>{SENTENCE}</h:p></h:body></h:html>".encode(), media_type=MEDIA_TYPE)
    assert (extracted.title, extracted.text) == ("A", SENTENCE)


def test_a_malformed_page_still_gives_its_text():
    page = f"{HEAD}<title/></head><body><p>{SENTENCE} & more<p class=x>{SENTENCE}</div></html>"
    assert text_of(page) == f"{SENTENCE} & more\n{SENTENCE}"


@given(
    st.lists(
        st.sampled_from(['<a "', "/>", "<!--", "-->", "<![CDATA[", "]]>", "<?", "'", '"', "<p/>", "x"]), max_size=30
    )
)
def test_any_markup_is_rewritten(pieces):
    assert isinstance(as_html("".join(pieces)), str)


@pytest.mark.parametrize("mime", [MEDIA_TYPE, None])
def test_the_media_type_of_the_capture_decides(mime):
    body = f"{HEAD}<title/></head><body><p>{SENTENCE}</p></body></html>".encode()
    page = _extract_page(body, {"mime": mime, "charset": None}, Extraction())
    assert page.text == SENTENCE
