"""Answers other than an ordinary HTML page: redirects, errors, other media types, robots.txt, extreme pages."""

from __future__ import annotations

from . import prose
from .builder import WebBuilder
from .english import NEWS_SITE, SITES
from .pages import HtmlPage, Page

REDIRECTS, GONE, PRIVATE = 30, 4, 20  # at scale 1; as many pages are not found as there are redirects
HUGE_REPEATS = 40_000
NESTED_ELEMENTS = 5_000
NOT_FOUND_BODY = b"<html><body><h1>Not found</h1><p>This page does not exist.</p></body></html>"
ROBOTS = {"hobbynotes.example": "User-agent: *\nDisallow: /private/\n"}  # robots.txt by host
OTHER_TYPES = [  # path, media type, body
    ("/logo.png", "image/png", b"\x89PNG\r\n\x1a\n" + bytes(64)),
    ("/style.css", "text/css", b"body { color: black }"),
    ("/notes.txt", "text/plain", b"A plain text file."),
    ("/paper.pdf", "application/pdf", b"%PDF-1.4\n%%EOF"),
    ("/data.json", "application/json", b"{}"),
]
SITES_WITH_OTHER_TYPES = sorted(SITES)[:4]


def add_http_cases(builder: WebBuilder) -> None:
    _add_statuses(builder)
    _add_disallowed(builder)
    _add_other_types(builder)
    _add_extreme_pages(builder)


def _add_statuses(builder: WebBuilder) -> None:
    for number in range(builder.count(REDIRECTS)):
        status = 301 if number % 2 else 302
        url = f"http://{NEWS_SITE}/old/{number}.html"
        _add_status(builder, url, "redirect", status, b"", {"Location": f"/article/{number:04d}.html"})
        _add_status(builder, f"http://{NEWS_SITE}/lost/{number}.html", "not_found", 404, NOT_FOUND_BODY)
    for number in range(builder.count(GONE)):
        _add_status(builder, f"http://ledgerline.example/gone/{number}.html", "gone", 410, b"<h1>Gone</h1>")


def _add_status(
    builder: WebBuilder, url: str, kind: str, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    all_headers = {**(headers or {}), "Content-Type": "text/html"}
    builder.add(Page(url, kind, body, status, all_headers, verdict="status", defects=(kind,)))


def _add_disallowed(builder: WebBuilder) -> None:
    """Add pages that robots.txt disallows."""
    for number in range(builder.count(PRIVATE)):
        builder.add_html(
            HtmlPage(
                f"http://hobbynotes.example/private/{number}.html",
                "robots_disallowed",
                f"Private {number}",
                [("p", "Not for robots.")],
                "blog",
                verdict="robots",
                defects=("robots_disallowed",),
                in_crawl=False,
            )
        )


def _add_other_types(builder: WebBuilder) -> None:
    for host in SITES_WITH_OTHER_TYPES:
        for path, mime, body in OTHER_TYPES:
            builder.add(
                Page(
                    f"http://{host}/files{path}",
                    "other_type",
                    body,
                    headers={"Content-Type": mime},
                    verdict="mime",
                    defects=("other_type",),
                    # The crawler does not follow links to pictures, style sheets and PDF files.
                    in_crawl=path.endswith((".txt", ".json")),
                )
            )


def _add_extreme_pages(builder: WebBuilder) -> None:
    """Add a page beyond the size limit, a deeply nested one, and one with null bytes."""
    builder.add_html(
        HtmlPage(
            "http://ledgerline.example/huge.html",
            "huge",
            "A huge page",
            [("p", "All work and no play makes a long page. " * HUGE_REPEATS)],
            "plain",
            verdict="too_large",
            defects=("huge",),
            in_crawl=False,
        )
    )
    deep = builder.add_html(
        HtmlPage(
            "http://ledgerline.example/deep.html",
            "deep",
            "A deep page",
            [("p", "At the bottom of it all lies one sentence about a cellar.")],
            "plain",
            defects=("deep_nesting",),
        )
    )
    deep.body = deep.body.replace(b"<p>At", b"<div>" * NESTED_ELEMENTS + b"<p>At")
    towns = builder.world.towns
    with_null_bytes = builder.add_html(
        HtmlPage(
            "http://ledgerline.example/nul.html",
            "article",
            "Null bytes",
            [
                ("p", prose.portrait(builder.rng("nul"), towns[0], 4)),
                ("p", prose.portrait(builder.rng("nul2"), towns[1], 4)),
            ],
            "plain",
            defects=("null_bytes",),
        )
    )
    with_null_bytes.body = with_null_bytes.body.replace(b"<p>", b"\x00\x00<p>", 1)
