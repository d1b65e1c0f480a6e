"""The pages of the sample web and their ground truth, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from .languages import TEXTS
from .templates import Block
from .world import Fact, World

CLOCKS = {1: datetime(2026, 10, 5, 6, 0, tzinfo=UTC), 2: datetime(2026, 10, 12, 6, 0, tzinfo=UTC)}  # by day
PORTAL = "webring.example"  # links to every site but the held-out one
# No other page links to this site; a recipe holds it out of training by its host.
HELD_OUT_SITE = "quietarchive.example"
ARCHIVE = f"http://{HELD_OUT_SITE}/index.html"
BLOCKED_HOSTS = {  # host → category of the blocklist that names it
    "velvetnights.example": "adult",
    "luckywheel.example": "gambling",
    "adfarm.example": "ads",
    "freecodecs.example": "malware",
}
LANGUAGES = ("en", *TEXTS)


@dataclass
class Page:
    """One URL of the web: the server's answer, and the truth about it.

    verdict: keep, or the rule that should reject the URL or the answer (a reject's ``rule``). text: the main content
    that an extractor should find; empty where there is none. defects: names, sorted. duplicate_of: URL of the original.
    pii: number of planted items of personal data by type. entities: names of those that the page is about. in_crawl:
    whether a crawl should store an answer. transfer: "chunked" if the server should send the body in chunks.
    """

    url: str
    kind: str
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    verdict: str = "keep"
    language: str = ""
    encoding: str = ""
    title: str = ""
    text: str = ""
    defects: tuple[str, ...] = ()
    duplicate_of: str = ""
    pii: dict[str, int] = field(default_factory=dict)
    entities: tuple[str, ...] = ()
    in_crawl: bool = True
    transfer: str = ""


@dataclass(frozen=True)
class Charset:
    """The encoding of a page's bytes, and the one that its Content-Type header and its meta element declare."""

    encoding: str = "utf-8"
    header: str | None = "utf-8"
    meta: str | None = "utf-8"


@dataclass
class HtmlPage:
    """A page to be rendered from a template; the truth fields are those of Page."""

    url: str
    kind: str
    title: str
    blocks: list[Block]
    template: str
    language: str = "en"
    charset: Charset = Charset()
    close_tags: bool = True
    verdict: str = "keep"
    defects: tuple[str, ...] = ()
    duplicate_of: str = ""
    pii: dict[str, int] = field(default_factory=dict)
    entities: tuple[str, ...] = ()
    in_crawl: bool = True


@dataclass
class Web:
    """The whole web of one day.

    pages: by URL. robots: robots.txt by host. facts: (fact, reach, number of pages about its entity). clock: the time
    of the day's crawl.
    """

    world: World
    pages: dict[str, Page]
    robots: dict[str, str]
    seeds: tuple[str, ...]
    facts: list[tuple[Fact, str, int]]
    clock: datetime
