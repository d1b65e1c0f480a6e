"""What no reader sees is not extracted, whether a block or an inline element hides it."""

import pytest

from llm_assets.curation.extraction import extract

SENTENCE = "The harbour was quiet that morning, and nobody had thought of the letter that came with the ferry."

HIDING = [
    "hidden",
    'hidden="hidden"',
    'style="display:none"',
    'style="color: red; DISPLAY : NONE !important"',
    "style='visibility: hidden'",
    "style=display:none",
    'style="visibility:collapse;"',
    'style="position:absolute; left:-9999px"',
    'style="position: absolute; width: 1px; height: 1px; overflow: hidden; clip: rect(0, 0, 0, 0)"',
    'style="clip-path: inset(50%)"',
    'style="display: block; display: none"',
    'class="x sr-only"',
    'class="govuk-visually-hidden"',  # frameworks that have names of their own
    'class="is-sr-only"',
    'class="ui-helper-hidden-accessible"',
    'class="u-hiddenVisually"',
    'class="visually-hidden"',
    'class="screen-reader-text"',
    'class="d-none"',
    'class="hidden"',
    'aria-hidden="true"',
]
SHOWING = [
    'hidden="until-found"',  # a search in the page finds it (HTML standard, 6.1)
    'style="-webkit-backface-visibility: hidden"',
    'style="overflow: hidden; display: inline"',
    'style="display: none; display: inline"',  # of two declarations the last one counts
    'style="position: absolute; left: -20px; clip: rect(10px, 20px, 30px, 0)"',
    'style="position: absolute; clip: rect(0px, 100px, 100px, 0px)"',
    'style="margin-left: -9999px"',
    'style="opacity: 0"',  # what scripts fade in
    'class="hidden md:inline"',  # hidden on small screens only
    'class="d-none d-md-block"',
    'aria-hidden="false"',
    'data-x="display:none"',
    'id="hidden"',
    'title="hidden"',
]


def inline(attributes):
    return f"<article><p>{SENTENCE} <span {attributes}>SECRET <b>words</b></span> end.</p><p>{SENTENCE}</p></article>"


def block(attributes):
    hidden = f"<div {attributes}><p>SECRET words of some length.</p></div>"
    return f"<article><p>{SENTENCE}</p>{hidden}<p>{SENTENCE}</p></article>"


@pytest.mark.parametrize("page", [inline, block])
@pytest.mark.parametrize("attributes", HIDING)
def test_hidden_text_is_left_out(attributes, page):
    text = extract(page(attributes).encode()).text
    assert "SECRET" not in text and "words" not in text
    assert text.count(SENTENCE) == 2


@pytest.mark.parametrize("page", [inline, block])
@pytest.mark.parametrize("attributes", SHOWING)
def test_visible_text_stays(attributes, page):
    assert "SECRET" in extract(page(attributes).encode()).text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ('<a href="/x">More<span class="sr-only"> about it</span></a> follows', "More follows"),
        ("<template><p>no</p></template>yes", "yes"),
        ('a<img hidden>b<input style="display:none">c', "abc"),  # void elements have no content to hide
        ('<a hidden href="#x">no <a href="#y">link</a></a>tail', "linktail"),
        ('<span aria-hidden="true">★★</span><span class="sr-only">two stars</span>', "★★"),
        ('<span class="sr-only">two stars</span> <span aria-hidden="true">★★</span>', "★★"),
        ('title<a class="anchor" aria-hidden="true">#</a> end', "title end"),
    ],
)
def test_hidden_inline_elements_end_where_they_end(markup, text):
    """Where one element is for screen readers and its neighbour for the eye, the reader gets the latter."""
    page = f"<article><p>{SENTENCE}</p><p>{markup} {SENTENCE}</p></article>"
    assert extract(page.encode()).text == f"{SENTENCE}\n{text} {SENTENCE}"


@pytest.mark.parametrize(("attributes", "is_shown"), [("", False), ("open", True)])
def test_a_dialog_is_hidden_unless_it_is_open(attributes, is_shown):
    """HTML standard, 15.3.1: `dialog:not([open]) { display: none }`."""
    page = f"<dialog {attributes}><p>{SENTENCE} SECRET</p></dialog>"
    assert ("SECRET" in extract(f"<p>{SENTENCE}</p>{page}".encode()).text) <= is_shown


def test_closed_details_stay():
    page = f"<article><details><summary>How it works</summary><p>{SENTENCE}</p></details><p>{SENTENCE}</p></article>"
    assert extract(page.encode()).text.splitlines() == ["How it works", SENTENCE, SENTENCE]


def test_a_page_that_a_script_would_show_keeps_its_text():
    assert SENTENCE in extract(f'<body><div style="visibility:hidden"><p>{SENTENCE}</p></div>'.encode()).text
    assert SENTENCE in extract(f'<body><span style="display:none"><p>{SENTENCE}</p></span>'.encode()).text


def test_a_short_page_is_not_filled_with_hidden_text():
    page = f'<p>Two words.</p><div style="display:none"><p>{SENTENCE}</p></div><p>{SENTENCE}</p>'
    assert extract(page.encode()).text == f"Two words.\n{SENTENCE}"


def test_neither_a_consent_dialog_nor_line_numbers_fill_a_short_page():
    """The first is hidden until a script asks; the second are no part of the listing."""
    dialog = (
        f'<div class="cmplz-cookiebanner cmplz-hidden"><p>{"We use cookies to store your settings. " * 9}</p></div>'
    )
    numbers = '<td class="gutter"><pre>1\n2\n3</pre></td>'
    listing = f'<figure><table><tr>{numbers}<td class="code"><pre>a = 1\nb = 2</pre></td></tr></table></figure>'
    text = extract(f"<body><div><p>{SENTENCE}</p>{listing}</div>{dialog}</body>".encode()).text
    assert text == f"{SENTENCE}\na = 1\nb = 2"
