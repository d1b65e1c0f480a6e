"""A small website of one host, served over HTTP, for tests of the crawler."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from llm_assets.recipes import WebCrawl
from llm_assets.sample_web import SampleWebServer, make_web
from llm_assets.sample_web.pages import Page, Web

CLOCK = datetime(2026, 10, 5, 6, tzinfo=UTC)
HTML = {"Content-Type": "text/html"}
HOST = "small.example"
SEED = f"http://{HOST}/"


def serve_site(bodies: dict[str, bytes], host: str = HOST, robots: str | None = None) -> SampleWebServer:
    """A server of the given bodies by path. Its `web.pages` may be changed while it runs."""
    pages = {
        f"http://{host}{path}": Page(f"http://{host}{path}", "article", body, headers=dict(HTML))
        for path, body in bodies.items()
    }
    web = Web(make_web(1, 0.05).world, pages, {host: robots} if robots else {}, (f"http://{host}/",), [], CLOCK)
    server = SampleWebServer(web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def links(*urls: str) -> bytes:
    """A page with links."""
    return b"<html><body>" + b"".join(f'<a href="{url}">x</a>'.encode() for url in urls) + b"</body></html>"


def site_crawl(server: SampleWebServer, **fields: object) -> WebCrawl:
    """A crawl of the site, without delays and retries."""
    settings = {"proxy": server.proxy, "delay": 0.0, "retries": 0, "timeout": 5.0, "clock": CLOCK, **fields}
    return WebCrawl(seeds=(SEED,), **settings)
