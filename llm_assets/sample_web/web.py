"""Makes the whole sample web of one day. World, scale and day determine it."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import lru_cache

from .builder import WebBuilder
from .duplicates import add_duplicates
from .english import add_english
from .http_cases import ROBOTS, add_http_cases
from .index_pages import add_held_out, add_index_pages
from .other_languages import add_other_languages
from .pages import ARCHIVE, CLOCKS, PORTAL, Page, Web
from .personal_data import add_personal_data
from .unwanted_pages import add_poor_pages, add_unwanted_urls

BEFORE_DAY_1, BETWEEN_THE_DAYS = "Mon, 28 Sep 2026 06:00:00 GMT", "Sat, 10 Oct 2026 06:00:00 GMT"


@lru_cache(maxsize=4)
def make_web(world: int = 1, scale: float = 1.0, day: int = 1) -> Web:
    """The whole web. Takes about two seconds at scale 1."""
    builder = WebBuilder(world, scale, day)
    # The order matters: pages link to related pages that were added before them.
    add_english(builder)
    add_other_languages(builder)
    add_duplicates(builder)
    add_unwanted_urls(builder)
    add_poor_pages(builder)
    add_personal_data(builder)
    add_http_cases(builder)
    add_held_out(builder)
    add_index_pages(builder)
    if day == 2:
        _mark_changed(builder.pages, make_web(world, scale).pages)
    _add_validators(builder.pages)
    return _finish(builder)


def _mark_changed(pages: dict[str, Page], before: dict[str, Page]) -> None:
    """Mark pages whose text differs from day 1: those with an update, and those that state a changed fact."""
    for url, page in pages.items():
        if url in before and page.text != before[url].text and "changed" not in page.defects:
            page.defects = tuple(sorted((*page.defects, "changed")))


def _add_validators(pages: dict[str, Page]) -> None:
    """Add the headers ETag and Last-Modified, with which a later crawl asks whether a page has changed."""
    for page in pages.values():
        if page.status == 200:
            is_recent = "changed" in page.defects or "new_on_day_2" in page.defects
            page.headers["ETag"] = f'"{hashlib.sha256(page.body).hexdigest()[:16]}"'
            page.headers["Last-Modified"] = BETWEEN_THE_DAYS if is_recent else BEFORE_DAY_1


def _finish(builder: WebBuilder) -> Web:
    pages_about = Counter(name for page in builder.pages.values() for name in set(page.entities))
    facts = [
        (fact, entity.reach, pages_about[entity.name])
        for entity in builder.world.entities
        for fact in entity.as_facts()
    ]
    seeds = (f"http://{PORTAL}/", ARCHIVE)
    return Web(builder.world, builder.pages, dict(ROBOTS), seeds, facts, CLOCKS[builder.day])
