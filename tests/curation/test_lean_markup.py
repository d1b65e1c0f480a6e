"""Reduced markup gives the parser the same elements and the same text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from llm_assets.curation.lean_markup import lean_markup
from llm_assets.curation.markup import read_blocks

PIECES = [
    "<p>",
    "</p>",
    "<div class='a b' data-x=1>",
    "</div>",
    "<b>",
    "</b>",
    "<a href='/x' title=\"<p>\">",
    "</a>",
    "<script>var a = '<p>';</script>",
    "<script src=x></script>",
    "<style>p > a {}</style>",
    "<!-- <p> -->",
    "<!-->",
    "<!--->",
    "<!-- -- --!>",
    "<textarea><p></textarea>",
    "<title>a<b></title>",
    "<svg><path d='1'/><title>t</title></svg>",
    "<svg>",
    "</svg>",
    "<svg/>",
    "<table>",
    "<tr>",
    "<td>",
    "</table>",
    "<li>",
    "<pre>\n a",
    "</pre>",
    "<br/>",
    "<hr>",
    "<img alt='x>y'>",
    "<math><mi>x</mi></math>",
    "words",
    " ",
    "\n",
    "<",
    ">",
    "&amp;",
    "<3",
    "</ x>",
    "<![CDATA[x]]>",
    "é漢",
    "<select><option>x</select>",
    "<p hidden>",
    '<p style="display:none">',
    "<xmp><p></xmp>",
    "<iframe><p></iframe>",
]


def tree_of(markup):
    tree = HTMLTree.parse(markup)
    if tree.body is None:
        return None
    blocks = read_blocks(tree.body.html)
    columns = (blocks.tag, blocks.parent, blocks.flags)
    return tree.title, blocks.texts(), *(column.tolist() for column in columns)


@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_the_parser_builds_the_same_tree(pieces):
    # A paragraph first: what may stand before the body differs between a page with and without scripts.
    markup = "<body><p>" + "".join(pieces)
    assert tree_of(lean_markup(markup.encode()).markup) == tree_of(markup)


@pytest.mark.parametrize(
    ("markup", "lean"),
    [
        ('<p class="a" onclick="x()" id=b>c', '<p class="a" id=b>c'),
        ('<a href="/x">b</a><a href="#n">c</a>', '<a>b</a><a href="#n">c</a>'),
        ('<p style="color:red">a<p style="display:none">b', '<p>a<p style="display:none">b'),
        ("<script>a<!-- <script> </script> --></script>b", "b"),  # "script data double escaped" of the standard
        ("<script>a<!-- </script>b", "b"),
        ('<script type="math/tex">x<y</script>', '<script type="math/tex">x<y</script>'),
        ("<svg><style/><script/></svg>b", "<svg><style/><script/></svg>b"),  # in foreign content the slash counts
        ("<style>a", ""),
        ("<noscript><p>a</noscript>b", "b"),
        ("a\0b", "ab"),
        ("<textarea>x<p>", "<textarea>"),
        ("<p title='a>b'>c", "<p>c"),
        ("<p a=1/>b", "<p>b"),
        ("<P CLASS=x>b", "<P CLASS=x>b"),
        ("<p class", "<p class"),  # a tag without an end is none
    ],
)
def test_what_is_left(markup, lean):
    assert lean_markup(markup.encode()).markup == lean


@pytest.mark.parametrize(
    ("markup", "count"), [("<p a b=1 c='2' d = \"3\">", 4), ("<p>", 0), ("<p =a/b>", 2), ("</p a b>", 2)]
)
def test_attributes_are_counted_as_the_tokenizer_counts_them(markup, count):
    assert lean_markup(markup.encode()).most_attributes == count


@given(st.binary(max_size=200))
def test_any_bytes_are_reduced(data):
    assert len(lean_markup(data).markup.encode()) <= 3 * len(data)
