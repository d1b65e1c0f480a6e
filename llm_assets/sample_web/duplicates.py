"""Exact and near duplicates of the news site's articles."""

from __future__ import annotations

from . import prose
from .builder import WebBuilder
from .english import CHANGED, NEWS_SITE, VANISHED, is_every
from .pages import HtmlPage, Page
from .templates import Block

EXACT, EXACT_AND_NEAR = 45, 110  # pages at scale 1: exact duplicates, and both kinds together


def add_duplicates(builder: WebBuilder) -> None:
    originals = _originals(builder)
    for page in originals[: builder.count(EXACT)]:
        builder.add(
            Page(
                f"http://mirrorpost.example{page.url.split('.example', 1)[1]}",
                "mirror",
                page.body,
                headers=dict(page.headers),
                language="en",
                encoding="utf-8",
                title=page.title,
                text=page.text,
                defects=("exact_duplicate",),
                duplicate_of=page.url,
                entities=page.entities,
            )
        )
    for number, page in enumerate(originals[builder.count(EXACT) : builder.count(EXACT_AND_NEAR)]):
        rng = builder.rng("near", number)
        blocks: list[Block] = [("p", text) for text in page.text.split("\n")]
        blocks.append(("p", f"This story first appeared in the Meridian Post. {prose.filler(rng)}"))
        builder.add_html(
            HtmlPage(
                f"http://newswire.example/story/{number:03d}.html",
                "near_duplicate",
                page.title,
                blocks,
                "blog",
                defects=("near_duplicate",),
                duplicate_of=page.url,
                entities=page.entities,
            )
        )


def _originals(builder: WebBuilder) -> list[Page]:
    """Articles that neither change nor vanish on day 2, so that a copy stays a copy."""
    originals = []
    for page in builder.pages.values():
        if page.url.startswith(f"http://{NEWS_SITE}/article/0") and not page.defects:
            number = int(page.url[-9:-5])
            if not is_every(number, CHANGED) and not is_every(number, VANISHED):
                originals.append(page)
    return originals
