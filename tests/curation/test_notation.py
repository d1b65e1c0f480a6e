"""Formulas are written once, as TeX where the page has it; exponents never become part of a number."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.curation.extraction import extract
from llm_assets.curation.notation import formula, write_out

TEX = '<annotation encoding="application/x-tex">x^2</annotation>'
MATHML = f"<math><semantics><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow>{TEX}</semantics></math>"
WITHOUT_TEX = "<math><msup><mi>x</mi><mn>2</mn></msup></math>"


def text_of(markup: str) -> str:
    """The text of a paragraph with some markup in a sentence."""
    before, after = "A square of this side has the area of ", " in all of the plane geometries that we know of."
    text = extract(f"<article><p>{before}{markup}{after}</p></article>".encode()).text
    return text.removeprefix(before.strip()).removesuffix(after.strip()).strip()


@pytest.mark.parametrize(
    "markup",
    [
        f"<span class=katex><span class=katex-mathml>{MATHML}</span>"
        "<span class=katex-html aria-hidden=true>x2</span></span>",
        f"<span class=katex-display><span class=katex><span class=katex-mathml>{MATHML}</span></span></span>",
        '<span class="MathJax_Preview">x2</span><span class="MathJax"><nobr>x2</nobr></span>'
        '<script type="math/tex">x^2</script>',
        '<script type="math/tex; mode=display">% <![CDATA[\nx^2 %]]></script>',
        f'<mjx-container class="MathJax"><mjx-math aria-hidden="true">x2</mjx-math><mjx-assistive-mml>{MATHML}'
        "</mjx-assistive-mml></mjx-container>",
        '<span class="mwe-math-element">'
        '<span class="mwe-math-mathml-inline mwe-math-mathml-a11y" style="display: none;">'
        f"{MATHML.replace('x^2</ann', '{' + chr(92) + 'displaystyle x^2}</ann')}</span>"
        '<img class="mwe-math-fallback-image-inline" aria-hidden="true" alt="{\\displaystyle x^2}"></span>',
        '<img src="/latex.php?x" class="latex" alt="x^2">',
        '<math alttext="x^2"><mi>x</mi><mn>2</mn></math>',
        WITHOUT_TEX,
        "<math><semantics><msup><mi>x</mi><mn>2</mn></msup><annotation-xml encoding='MathML-Content'><apply>x2</apply>"
        "</annotation-xml></semantics></math>",
        '<script type="math/mml">' + WITHOUT_TEX + "</script>",
    ],
    ids=[
        "KaTeX",
        "KaTeX without HTML",
        "MathJax 2",
        "MathJax 2, display",
        "MathJax 3",
        "MediaWiki",
        "image",
        "LaTeXML",
        "MathML",
        "MathML with content",
        "MathML in a script",
    ],
)
def test_a_formula_is_written_once(markup):
    assert text_of(markup) == "x^2"


@pytest.mark.parametrize(
    ("mathml", "text"),
    [
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mn>2</mn></mfrac>", "(a + 1)/2"),
        ("<msqrt><mi>x</mi></msqrt><mo>≤</mo><mroot><mi>y</mi><mn>3</mn></mroot>", "√x ≤ √[3]y"),
        ("<msubsup><mi>a</mi><mi>i</mi><mrow><mn>2</mn><mi>n</mi></mrow></msubsup>", "a_i^(2 n)"),
        ("<mi>f</mi><mo>&#x2061;</mo><mo>(</mo><mi>x</mi><mo>)</mo>", "f (x)"),
        ("<mi>a</mi><mo>&lt;</mo><mi>b</mi>", "a < b"),
    ],
)
def test_mathml_without_a_source_is_written_in_a_line(mathml, text):
    assert text_of(f"<math>{mathml}</math>") == text


def test_a_formula_in_html_alone_stays():
    """KaTeX with `output: "html"` has no MathML; then the part for the eye is all there is."""
    assert text_of('<span class="katex"><span class="katex-html" aria-hidden="true">x+y</span></span>') == "x+y"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("10<sup>6</sup>", "10^6"),
        ("10<sup>&minus;3</sup>", "10^−3"),
        ("10<sup>n+1</sup>", "10^(n+1)"),
        ("2<sup>n</sup>", "2^n"),
        ("100<sup>2</sup>=10000", "100^2=10000"),
        ("x<sub>i</sub><sup>2</sup>", "x_i^2"),
        ("log<sub>10</sub> 5", "log_10 5"),
        ("101<sub>2</sub>", "101_2"),
        ("5 m<sup>2</sup>", "5 m^2"),
        ("公尺<sup>2</sup>", "公尺^2"),
        ("Ca<sup>2+</sup>", "Ca^2+"),
        ("CO<sub>2</sub>", "CO2"),
        ("Fe<sub>2</sub>O<sub>3</sub>", "Fe2O3"),
        ("<sup>14</sup>C", "14C"),
        ("1<sup>st</sup>", "1st"),
        ("1<sup>er</sup> et 2<sup>e</sup>", "1er et 2e"),
        ("XIX<sup>e</sup> M<sup>lle</sup> D<sup>r</sup> n<sup>o</sup>", "XIXe Mlle Dr no"),
        ("Foo<sup>TM</sup> Bar<sup>®</sup>", "Foo™ Bar®"),
        ("a<sup>b<sup>c</sup></sup>", "a^(b^c)"),
        ('note<sup><a href="#n1">1</a></sup> b', "note b"),
        ('note<a href="#n1"><sup>1</sup></a> b', "note b"),
        ('note<sup class="footnote-ref">12</sup> b', "note b"),
        ("end.<sup>3</sup> Next", "end. Next"),
        ('note<sup class="reference"><a href="#c">[4]</a></sup>', "note[4]"),
        ('<a href="#s">of 10<sup>6</sup></a>', "of 10^6"),
        ('10<span style="font-size: 70%; vertical-align: super">6<b>7</b></span> m', "10^67 m"),
        ('x<span style="vertical-align:sub">i</span><span class="superscript">2</span>', "x_i^2"),
        ('<span style="vertical-align:super"><span>a</span></span> <span>b</span>', "a b"),
        ("2<sup>3</sup>5", "2^(3)5"),
        ("3<sup>1</sup>/<sub>2</sub> m", "3 1/2 m"),
        ("$1,019<sup>99</sup>", "$1,019.99"),
        ("19<sup>99</sup> €", "19,99 €"),
        ('1832<a href="#fn1">1</a> and<a class="footnote" href="n.html#2">2</a> b', "1832 and b"),
        ('It is old.<a href="#fn3">12</a> See 3.<a href="#s2">2</a>', "It is old. See 3.2"),
        ('Fig.<a href="#f3">3</a> and on p.<a href="#p12">12</a>', "Fig.3 and on p.12"),
        ('old<a href="#_ftn1">1</a> and new.<a href="#3">3</a>', "old and new."),
        ("$10<sup>12</sup> or 10<sup>12</sup> $", "$10^12 or 10^12 $"),
        ('pages <a href="#p2">2</a>, <a href="#p3">3</a>', "pages 2, 3"),
        ("word<sup>a longer remark in small letters</sup>", "worda longer remark in small letters"),
        ("1 &lt; x<sup>&lt;2</sup>", "1 < x^(<2)"),
    ],
)
def test_superscripts_and_subscripts_are_parted_from_numbers(markup, text):
    """100 squared is not 1002; CO2, 1st and Mlle are the usual forms without markup."""
    assert text_of(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rt>じ</rt></ruby>", "漢(かん)字(じ)"),
        ("<ruby>漢字<rp>（</rp><rt>かんじ</rt><rp>）</rp></ruby>", "漢字（かんじ）"),
        ("<ruby>北<rt>běi<rt></rt></ruby>京", "北(běi)京"),
    ],
)
def test_the_annotation_of_a_ruby_is_parted_from_its_base(markup, text):
    """HTML standard, 4.5.12: in parentheses, as `rp` gives them to browsers that show no ruby."""
    assert text_of(markup) == text


@given(st.text(alphabet="\x02\x03$=^_na1<>&/ m.", max_size=30))
def test_any_marks_are_written_out(text):
    assert "\x03" not in write_out(text)


@pytest.mark.parametrize(
    "markup",
    [
        "<math>" + "<annotation " * 100_000,
        '<math a="' + "<math " * 200_000 + '"></math>',
        '<math><mi a="<' + "a" * 300_000 + '<">x</mi></math>',
        "<math><mi>a" + " " * 300_000 + "b</mi></math>",
        '<script type="math/tex">a' + " " * 300_000 + "b</script>",
    ],
    ids=["annotations", "elements", "name", "spaces", "spaces of TeX"],
)
def test_a_hostile_formula_is_read_in_linear_time(markup):
    """With backtracking, each takes from minutes to hours."""
    began = time.process_time()
    assert len(formula(markup)) < len(markup)
    assert time.process_time() - began < 20
