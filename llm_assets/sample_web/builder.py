"""Collects the pages of one day of the sample web; the page modules add to it in a fixed order."""

from __future__ import annotations

import random

from .lessons import vocabulary
from .pages import HtmlPage, Page
from .templates import Content, main_text, render
from .world import make_world

# Kinds of pages that other pages of the site link to as related.
RELATED_KINDS = ("article", "answers", "lesson", "reading", "writing")
RELATED_LINKS = 4


class WebBuilder:
    """The pages added so far, by URL, and what they are made from.

    world: the number of the world that they are about. scale: factor of the number of pages. linked: URLs by host that
    the host's index pages will link to.
    """

    def __init__(self, world: int, scale: float, day: int):
        self.scale, self.day = scale, day
        self.world_number, self.world = world, make_world(world, day)
        self.pages: dict[str, Page] = {}
        self.linked: dict[str, list[str]] = {}
        self.vocabulary = vocabulary(self.world)

    def rng(self, *parts: object) -> random.Random:
        """A random generator that depends only on the world and the given parts."""
        return random.Random("-".join(map(str, (self.world_number, *parts))))

    def count(self, at_scale_1: int) -> int:
        """A number of pages at this web's scale, at least one."""
        return max(1, round(at_scale_1 * self.scale))

    def add(self, page: Page) -> Page:
        assert page.url not in self.pages, page.url
        if page.status == 200 and page.verdict == "keep" and not page.encoding and page.text:
            page.encoding = "utf-8"
        self.pages[page.url] = page
        if page.kind != "held_out":
            self.linked.setdefault(_host(page.url), []).append(page.url)
        return page

    def add_html(self, source: HtmlPage) -> Page:
        """Render a page from its template, with links to related pages of its site, and add it."""
        host = _host(source.url)
        rng = self.rng("page", source.url)
        candidates = [url for url in self.linked.get(host, []) if self.pages[url].kind in RELATED_KINDS]
        related = rng.sample(candidates, min(RELATED_LINKS, len(candidates)))
        content = Content(
            site=host.removesuffix(".example").title(),
            language=source.language,
            charset=source.charset.meta,
            title=source.title,
            blocks=source.blocks,
            related=[(url, self.pages[url].title) for url in related],
            close_tags=source.close_tags,
        )
        declared = f"; charset={source.charset.header}" if source.charset.header else ""
        return self.add(
            Page(
                source.url,
                source.kind,
                render(source.template, content, rng).encode(source.charset.encoding, "xmlcharrefreplace"),
                headers={"Content-Type": f"text/html{declared}"},
                verdict=source.verdict,
                language=source.language,
                encoding=source.charset.encoding,
                title=source.title,
                text=main_text(source.blocks),
                defects=source.defects,
                duplicate_of=source.duplicate_of,
                pii=source.pii,
                entities=source.entities,
                in_crawl=source.in_crawl,
            )
        )


def _host(url: str) -> str:
    return url.split("/")[2]
