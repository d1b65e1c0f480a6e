"""From a page's HTML to its text, and from the text to bits, bytes and tokens."""

from __future__ import annotations

from llm_assets.curation.encoding import decode_body, decode_characters
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import Texts
from llm_assets.warc import read_captures

from .layout import labelled, shortened, visible, wrapped
from .visit import NothingToShow, Visit

HTML_CHARACTERS = 900  # of the page's HTML
TEXT_CHARACTERS = 500  # of its text
WORDS = 8  # of the text whose bits, bytes and tokens are shown
BITS = 64


def html_of(visit: Visit) -> tuple[str, int]:
    """The HTML of the page that is shown, and its length in bytes as it was sent. Raises NothingToShow.

    The pages may have been crawled again since the corpus was built: other records are at the same places then.
    """
    page, raw = visit.page, visit.artifact("raw_warc")
    if isinstance(visit.workspace.recipe.sources()[raw.record.partition or ""], Texts):
        raise NothingToShow(f"{page['url']} is a text of your own files, which had no HTML")
    name = f"warc/{page['warc_file']}"
    captures = read_captures(raw.file(name), {page["warc_offset"]}) if name in raw.record.files else ()
    for capture in captures:
        if (capture.offset, capture.url) == (page["warc_offset"], page["url"]) and capture.payload:
            limit = visit.workspace.recipe.extraction.max_bytes
            body = decode_body(capture.payload, capture.http or {}, limit)
            return decode_characters(body).text, len(capture.payload)
    raise NothingToShow(f"{name} no longer holds {page['url']}; build the corpus from the new pages: llm-assets run")


def raw_page(visit: Visit) -> list[str]:
    html, size = html_of(visit)
    shown = shortened(html, HTML_CHARACTERS)
    return [*wrapped(f"{visit.page['url']}, {size:,} bytes", "  "), "", *wrapped(shown, "  | ", "  | ")]


def clean_page(visit: Visit) -> list[str]:
    page = visit.page
    lines = wrapped(shortened(page["text"], TEXT_CHARACTERS), "  | ", "  | ")
    total = visit.pages
    size = f"This page has {page['words']:,} words. The corpus of this crawl has {len(total):,} pages that models read"
    return [*lines, "", *wrapped(f"{size}, with {int(total['words'].sum()):,} words.", "  ")]


def tokens(visit: Visit) -> list[str]:
    encoding = Encoding.load(visit.artifact("tokenizer").path)
    text = visit.page["text"]
    beginning = " ".join(text.split()[:WORDS])
    data, ids = beginning.encode(), encoding.encode(beginning)
    bits = "".join(f"{byte:08b}" for byte in data)
    pieces = "|".join(visible(encoding.decode([token])) for token in ids)
    whole = f"{8 * len(text.encode()):,} bits, {len(text.encode()):,} bytes, {len(encoding.encode(text)):,} tokens"
    return [
        *labelled("text", beginning),
        *labelled("bits", f"{bits[:BITS]}{' …' if len(bits) > BITS else ''} ({len(bits)} of them)"),
        *labelled("bytes", f"{' '.join(map(str, data))} ({len(data)} of 256 kinds)"),
        *labelled("tokens", pieces),
        *labelled("token ids", f"{' '.join(map(str, ids))} ({len(ids)} of {encoding.size:,} kinds)"),
        *labelled("the whole page", whole),
    ]
