"""Extraction: golden pages, a minimum F1 on known pages, and bounded work on hostile pages."""

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.curation.encoding import BodyError
from llm_assets.curation.extraction import extract
from llm_assets.curation.main_content import _title_forms
from llm_assets.recipes import Extraction

LONG = 3 * (
    "The harbour was quiet that morning, and nobody, not even the old ferryman, had thought of the letter that came. "
)
OTHER = 3 * (
    "In the evening, when the shops had closed, a small crowd gathered at the bridge to hear what had been decided "
    "there. "
)
NAV = "<nav><ul>" + "".join(f'<li><a href="/{i}">Menu item number {i}</a></li>' for i in range(12)) + "</ul></nav>"


def page(body, title="A page"):
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>".encode()


ARTICLE = f"<article><p>{LONG}</p><p>{OTHER}</p></article>"

# Pages whose main text is that of ARTICLE.
GOLDEN = {
    "navigation": NAV + ARTICLE,
    "a footer": ARTICLE + f"<footer><p>{LONG[:100]} imprint</p></footer>",
    "a sidebar by its class": (
        f'{ARTICLE}<div class="left-sidebar">'
        "<p>Subscribe to our letter, it comes every week and costs nothing at all.</p></div>"
    ),
    "comments": (
        f'{ARTICLE}<div id="comments"><div class="comment">'
        "<p>I was there as well, and I can say that it was quite different from this.</p></div></div>"
    ),
    "related links": (
        f'<article><p>{LONG}</p><ul class="x"><li><a href="/a">Another story that you may like very much</a></li>'
        f'<li><a href="/b">And one more of them</a></li></ul><p>{OTHER}</p></article>'
    ),
    "sharing buttons": (
        '<article><div class="share-bar"><span>Tell your friends about this page now</span></div>'
        f"<p>{LONG}</p><p>{OTHER}</p></article>"
    ),
    "a caption": (
        f"<article><p>{LONG}</p><figure><img src=x><figcaption>The harbour as seen from the hill behind it"
        f"</figcaption></figure><p>{OTHER}</p></article>"
    ),
    "hidden elements": (
        f'<article><p>{LONG}</p><div style="display: none">'
        f"<p>You should not be able to see this sentence.</p></div><p>{OTHER}</p></article>"
    ),
    "scripts and styles": (
        "<article><script>var a = '<p>no text</p>';</script><style>p { color: red }</style>"
        f"<p>{LONG}</p><p>{OTHER}</p></article>"
    ),
    "a table layout": (
        '<table><tr><td><ul><li><a href="/">Home</a></li><li><a href="/x">Links</a></li></ul></td>'
        f"<td><p>{LONG}</p><p>{OTHER}</p></td></tr></table>"
    ),
    "no end tags": f"{NAV}<div class=content><p>{LONG}<p>{OTHER}",
    "article split over two boxes": (
        f'<div id="main"><div class="part"><p>{LONG}</p></div><div class="ad"><p>Buy a boat today</p></div>'
        f'<div class="part"><p>{OTHER}</p></div></div>'
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_the_article_and_nothing_but_the_article(case):
    assert extract(page(GOLDEN[case])).text == f"{LONG.strip()}\n{OTHER.strip()}"


def test_headings_lists_and_listings_of_the_article_are_kept():
    body = (
        f"<p>{LONG}</p><h2>What follows</h2><ul><li>first thing</li><li>second thing</li></ul>"
        f"<figure><pre>x = 1\n  y = 2</pre></figure><p>{OTHER}</p>"
    )
    text = extract(page(f"{NAV}<article>{body}</article>")).text
    assert text == f"{LONG.strip()}\nWhat follows\nfirst thing\nsecond thing\nx = 1\n  y = 2\n{OTHER.strip()}"


def test_headings_that_the_title_contains_stay():
    """A section called "Rome" on a page called "Houses of Rome" is a section; only the title itself is left out."""
    paragraphs = f"<p>{LONG}</p><p>{OTHER}</p><p>{LONG}</p>"
    body = f"<article><h1>Houses of Rome</h1><h2>Uses</h2>{paragraphs}<h2>Rome</h2>{paragraphs}</article>"
    lines = extract(page(body, "Houses of Rome - a guide")).text.splitlines()
    assert lines[0] == "Uses" and lines[4] == "Rome" and len(lines) == 8


def test_a_title_of_very_many_parts_has_one_form():
    """Each part has two forms, each nearly as long as the title: together 40 GB."""
    title = "a | " * 100_000
    assert _title_forms(title) == {title}


def test_a_short_page_keeps_its_title():
    """A title and three sentences: without the title, nobody knows what they are about."""
    body = f"<header><nav>Home</nav></header><main><h1>A page</h1><div><div><p>{LONG}</p></div></div></main>"
    assert extract(page(body)).text == f"A page\n{LONG.strip()}"


def test_a_list_of_links_is_the_content_of_a_page_without_prose():
    links = "".join(f'<li><a href="/{i}">The story of the harbour, part {i}</a></li>' for i in range(9))
    text = extract(page(f"{NAV}<main><h1>Stories</h1><ul>{links}</ul></main><footer>Imprint</footer>")).text
    assert text.splitlines() == ["Stories", *(f"The story of the harbour, part {i}" for i in range(9))]


def test_a_box_in_a_text_stays_and_a_column_beside_it_does_not():
    """ "sidebar" is DocBook's name of a box in a text (docbook.org, `sidebar`), and most sites' of a column."""
    box = f'<div class="sidebar"><p>{LONG}</p></div>'
    body = f"<div><div class=text><p>{LONG}</p>{box}<p>{OTHER}</p></div>{box.replace(LONG, 'A column.')}</div>"
    text = extract(page(body)).text
    assert text == f"{LONG.strip()}\n{LONG.strip()}\n{OTHER.strip()}"


def test_permalinks_of_headings_are_left_out():
    body = f'<article><p>{LONG}</p><h2>Uses<a href="#uses">¶</a></h2><p>{OTHER}<a href="#f1">↩</a></p></article>'
    assert extract(page(body)).text == f"{LONG.strip()}\nUses\n{OTHER.strip()}"


def test_a_heading_after_the_first_paragraph_is_no_title():
    body = f"<article><p>{LONG}</p><h2>A page</h2><p>{OTHER}</p></article>"
    assert "A page" in extract(page(body)).text.splitlines()


def test_a_row_of_a_table_is_a_line():
    rows = "<tr><th>Name<th>Age<tr><td>Alice<td>30<tr><td><p>Bob<p>junior<td>4"
    text = extract(page(f"<article><p>{LONG}</p><table>{rows}</table><p>{OTHER}</p></article>")).text
    assert text.splitlines()[1:-1] == ["Name\tAge", "Alice\t30", "Bob", "junior", "4"]


def test_posts_of_a_list_page_are_all_kept():
    posts = [f"Post number {i}. {LONG}" for i in range(4)]
    html = "".join(
        f'<div class="post" id="p{i}"><h2><a href="/{i}">Title {i}</a></h2><p>{post}</p>'
        f'<a href="/{i}">Read the whole story of post {i}</a></div>'
        for i, post in enumerate(posts)
    )
    text = extract(page(f'<div id="list">{html}</div>')).text
    assert all(post.strip() in text for post in posts)


@pytest.mark.parametrize(("title", "expected"), [("  A \n title ", "A title"), ("A &amp; B", "A & B"), ("", "")])
def test_titles_are_read(title, expected):
    assert extract(page(ARTICLE, title)).title == expected


def test_entities_are_resolved_and_breaks_are_line_breaks():
    """Verse and addresses have their lines from `br` (HTML standard, 4.5.27)."""
    html = "<p>Tom &amp; Jerry&nbsp;ran <br> <br>away &lt;fast&gt; over the hills and through the woods<br></p>"
    assert extract(page(html)).text == "Tom & Jerry ran\naway <fast> over the hills and through the woods"


@pytest.mark.parametrize(
    "html",
    [b"", b"   ", b"<html></html>", b"<body><script>x</script></body>", b"\x00\x00", b"<!-- only a comment -->"],
    ids=range(6),
)
def test_pages_without_text_give_an_empty_text(html):
    assert extract(html).text == ""


@pytest.mark.parametrize(
    "html",
    [
        b'<p>A.</p><article>One sentence, and a few more words.<h1"></article>',
        b'<p>A.</p><article><h2">One sentence, and a few more words.</h2"></article>',
    ],
)
def test_a_quotation_mark_in_the_name_of_a_tag_is_a_part_of_it(html):
    """As browsers read it (HTML, 13.2.5.8), so that the element around it ends where it does."""
    assert extract(html).text == "A.\nOne sentence, and a few more words."


@given(st.binary(max_size=300))
def test_any_bytes_are_extracted(html):
    assert isinstance(extract(html).text, str)


@given(
    st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<div>",
                "</div>",
                "<table>",
                "<td>",
                "<a href='x'>",
                "</a>",
                "<b>",
                "<ul>",
                "<li>",
                "<script>",
                "</script>",
                "<!--",
                "-->",
                "words in a row, with a comma, ",
                "<pre>",
                "</pre>",
                '<div class="comment">',
                "&amp;",
                "<br>",
                "\x00",
            ]
        ),
        max_size=60,
    )
)
def test_any_markup_is_extracted(pieces):
    extract("".join(pieces).encode())


HOSTILE = {
    "nesting": "b'<div>' * 100_000 + b'<p>deep down there is a sentence</p>'",
    "listings far down": "b'<div>' * 60_000 + b'<pre>x = 1</pre>' * 60_000",
    "posts in posts": (
        "(b'<div class=\"p\"><p><a href=\"x\">' + b'linked words ' * 6 + "
        "b'</a> and some words of its own here, enough to count as good ones.</p>') * 20_000"
    ),
    "no end tags": "b'<p>one sentence without an end, and then' * 150_000",
    "tables": "b'<table><tr><td>' * 60_000 + b'x'",
    "misnested": "(b'<a><b><i>' + b'</a></b></i>') * 40_000",
    "null bytes": "b'\\\\0' * 5_000_000 + b'<p>x</p>'",
    "one tag with many attributes": "b'<p ' + b' '.join(b'a%d=1' % i for i in range(200_000)) + b'>x'",
    "many tags with many attributes": "(b'<p ' + b' '.join(b'a%d=1' % i for i in range(2_500)) + b'>x') * 200",
    "100 MB": "b'<p>hello</p>' * 9_000_000",
    "one line of 7 MB": "b'<p>' + b'word ' * 1_400_000 + b'</p>'",
    "quotes": "b'<p title=\"' * 300_000",
    "comments": "b'<!--' * 500_000",
    "entities": "b'&amp;' * 1_000_000",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pages_are_bounded_in_work_and_memory(case):
    """Each page is extracted in a process of its own with 6 GiB of address space and 30 CPU-seconds, far more than
    the bounds admit.
    """
    script = f"""
        import resource
        from llm_assets.curation.extraction import extract
        from llm_assets.curation.encoding import BodyError
        html = {HOSTILE[case]}
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        try:
            print("text", len(extract(html).text))
        except BodyError as error:
            print("reject", error.rule)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    verdict, memory = done.stdout.splitlines()
    assert verdict.split()[0] in ("text", "reject")
    assert int(memory) < 2_500


def test_a_page_whose_only_good_text_is_outside_of_all_elements_is_extracted():
    """The body then has good text, but no child that has any, and many links elsewhere; this was a KeyError."""
    good = "Good text of the page itself, with commas, that is long enough to count as good text here. "
    links = "<a href=x>a link to a page</a> " * 30
    assert extract(f"<body>{good}<div><p>A short paragraph, of some words.</p></div>{links}".encode()).text


@pytest.mark.parametrize(
    ("html", "rule", "value", "threshold"),
    [
        (b"<p>" + b"x" * 2_000, "too_large", "2003", "2000"),
        (b"<p>" * 200, "too_many_tags", "200", "150"),
        (b"<p " + b" ".join(b"attribute%04d=1" % i for i in range(700)) + b">", "too_many_attributes", "700", "600"),
    ],
    ids=["bytes", "tags", "attributes"],
)
def test_a_page_that_exceeds_a_bound_is_rejected_with_value_and_threshold(html, rule, value, threshold):
    max_bytes = 2_000 if rule == "too_large" else 1 << 20
    with pytest.raises(BodyError) as error:
        extract(html, bounds=Extraction(max_bytes=max_bytes, max_tags=150, max_attributes=600))
    assert (error.value.rule, error.value.value, error.value.threshold) == (rule, value, threshold)


def test_the_f1_on_saved_pages_is_above_that_of_other_extractors(shared_data):
    """trafilatura 2.3.1 has 0.936 on these pages, resiliparse's own main content 0.937 (benchmarks/extraction.py)."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    from extraction import f1, load, score

    scores = [score(truth, extract(html).text) for _, html, truth in load(shared_data / "extraction" / "readability")]
    assert f1(scores)["f1"] >= 0.957


def test_pages_of_all_kinds_have_their_content_and_not_their_frame(shared_data):
    """trafilatura 2.3.1 has 0.846 on these pages, which are no articles for the greater part."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    from extraction_pages import extractors, load, measure

    pages = load(shared_data / "web" / "2026-10")
    assert len({page["language"] for page in pages}) >= 12
    assert measure(pages, extractors()["llm_assets"])["all"]["f1"] >= 0.92
