"""The held-out site, and the pages that link to all others: front pages, the archive's index and the portal."""

from __future__ import annotations

from .builder import WebBuilder
from .english import article_blocks
from .pages import ARCHIVE, BLOCKED_HOSTS, HELD_OUT_SITE, PORTAL, HtmlPage, Page

LINKS_PER_INDEX = 60


def add_held_out(builder: WebBuilder) -> None:
    """Add the site that is held out of training: two pages about each of its people."""
    people = [person for person in builder.world.people if person.reach == "held_out"]
    for number, person in enumerate(people * 2):
        builder.add_html(
            HtmlPage(
                f"http://{HELD_OUT_SITE}/person/{number:03d}.html",
                "held_out",
                f"The papers of {person.name}",
                article_blocks(builder.rng("held", number), [person, person]),
                "wiki",
                entities=(person.name,),
                defects=("held_out",),
            )
        )


def add_index_pages(builder: WebBuilder) -> None:
    """Add front pages of all hosts, each linking to 60 pages and to the next; the archive's index; and the portal."""
    hosts = sorted(builder.linked)
    for host in hosts:
        _add_front_pages(builder, host)
    archive_links = [(url, page.title) for url, page in builder.pages.items() if page.kind == "held_out"]
    body = f"<title>{HELD_OUT_SITE}</title></head><body><ul>{_links_html(archive_links)}</ul></body></html>"
    _add_index(builder, ARCHIVE, f"<!DOCTYPE html><html><head>{body}").defects = ("held_out",)
    portal_links = _links_html([(f"http://{host}/index.html", host) for host in hosts])
    body = f"<title>Web ring</title></head><body><ul>{portal_links}</ul></body></html>"
    _add_index(builder, f"http://{PORTAL}/", f"<!DOCTYPE html><html><head>{body}")


def _add_front_pages(builder: WebBuilder, host: str) -> None:
    urls = builder.linked[host]
    count = -(-len(urls) // LINKS_PER_INDEX)
    for number in range(count):
        linked = urls[number * LINKS_PER_INDEX : (number + 1) * LINKS_PER_INDEX]
        links = _links_html([(url, builder.pages[url].title or url.rsplit("/", 1)[-1]) for url in linked])
        following = f'<a href="/index-{number + 1}.html">next</a>' if number + 1 < count else ""
        html = (
            f"<!DOCTYPE html><html><head><meta charset=utf-8><title>{host}</title></head>"
            f"<body><h1>{host}</h1><ul>{links}</ul>{following}</body></html>"
        )
        name = "index.html" if number == 0 else f"index-{number}.html"
        page = _add_index(builder, f"http://{host}/{name}", html)
        page.verdict = BLOCKED_HOSTS.get(host.removeprefix("www."), "keep")


def _links_html(links: list[tuple[str, str]]) -> str:
    return "".join(f'<li><a href="{url}">{text}</a></li>' for url, text in links)


def _add_index(builder: WebBuilder, url: str, html: str) -> Page:
    """Add a page that no front page links to."""
    headers = {"Content-Type": "text/html; charset=utf-8"}
    page = Page(url, "index", html.encode(), headers=headers, language="en", encoding="utf-8")
    builder.pages[url] = page
    return page
