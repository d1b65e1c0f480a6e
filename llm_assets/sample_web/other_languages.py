"""Pages of the sample web in other languages and in encodings other than UTF-8."""

from __future__ import annotations

from . import prose
from .builder import WebBuilder
from .languages import LEGACY_ENCODINGS, page_text
from .pages import Charset, HtmlPage
from .templates import TEMPLATES

HOSTS = {  # by language
    "de": "tageblatt.example",
    "fr": "lejournal.example",
    "es": "lavoz.example",
    "it": "gazzetta.example",
    "pt": "folha.example",
    "ru": "vestnik.example",
    "ja": "shimbun.example",
}
PAGES = 26  # of each language, at scale 1
ODD_ENCODING_PAGES = 6  # in UTF-16, and as many with an unknown charset label, at scale 1
UTF_16 = Charset("utf-16", header=None, meta=None)
UNKNOWN_CHARSET = Charset("utf-8", header="x-klingon-8", meta=None)


def add_other_languages(builder: WebBuilder) -> None:
    for language, host in HOSTS.items():
        for number in range(builder.count(PAGES)):
            title, paragraphs = page_text(builder.rng("foreign", language, number), language, builder.world)
            charset, defects = _charset(number, LEGACY_ENCODINGS[language])
            builder.add_html(
                HtmlPage(
                    f"http://{host}/{language}/{number:03d}.html",
                    "article",
                    title,
                    [("p", paragraph) for paragraph in paragraphs],
                    TEMPLATES[number % len(TEMPLATES)],
                    language=language,
                    charset=charset,
                    defects=defects,
                )
            )
    for number in range(builder.count(ODD_ENCODING_PAGES)):
        url = f"http://townbook.example/wide/{number}.html"
        _add_town_page(builder, url, ("utf16", number), f"Wide letters {number}", UTF_16, "utf16")
    for number in range(builder.count(ODD_ENCODING_PAGES)):
        url = f"http://townbook.example/odd/{number}.html"
        draws = ("unknown-charset", number)
        _add_town_page(builder, url, draws, f"Odd label {number}", UNKNOWN_CHARSET, "unknown_charset")


def _charset(number: int, legacy: str) -> tuple[Charset, tuple[str, ...]]:
    """Encoding and declarations of a page, with the defect that this is; the other pages are plain UTF-8."""
    if number % 4 == 1:
        return Charset(legacy, header=legacy, meta=legacy), ("legacy_encoding",)
    if number % 4 == 2:
        return Charset(legacy, header=None, meta=legacy), ("charset_only_in_meta",)
    if number % 8 == 3:
        return Charset(legacy, header=None, meta=None), ("charset_undeclared",)
    if number % 8 == 7:
        return Charset("utf-8", header="utf-8", meta=legacy), ("meta_contradicts_header",)
    return Charset(), ()


def _add_town_page(
    builder: WebBuilder, url: str, draws: tuple[str, int], title: str, charset: Charset, defect: str
) -> None:
    rng = builder.rng(*draws)
    blocks = [("p", prose.portrait(rng, town, 2)) for town in rng.sample(builder.world.towns, 4)]
    builder.add_html(HtmlPage(url, "article", title, blocks, "plain", charset=charset, defects=(defect,)))
