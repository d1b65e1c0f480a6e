"""A web of any hosts, served through a proxy, whose answers a test scripts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from llm_assets.recipes import WebCrawl
from llm_assets.warc import read_captures
from llm_assets.web.crawler import CrawlJob, crawl
from llm_assets.web.crawler.spool import failures

from .small_site import CLOCK

Answer = tuple[int, dict[str, str], bytes]
HTML = {"Content-Type": "text/html"}
CLOSED: Answer = (0, {}, b"")  # the connection is closed without an answer


def html(body: bytes, **headers: str) -> Answer:
    """A page; underscores in names of headers stand for hyphens."""
    return 200, {**HTML, **{name.replace("_", "-"): value for name, value in headers.items()}}, body


def redirect(target: str, status: int = 301) -> Answer:
    return status, {"Location": target}, b""


def run(folder: Path, source: WebCrawl, earlier: Iterable[str] = ()) -> tuple[dict[str, int], dict[str, str]]:
    """The captures without those of robots.txt, and the failures: {URL: status}, {URL: reason}."""
    files = crawl(CrawlJob("test", source, folder, tuple(earlier)), lambda pages, queued: None)
    captures = [capture for file in files for capture in read_captures(file)]
    assert len({capture.url for capture in captures}) == len(captures)
    pages = {capture.url: capture.status for capture in captures if not capture.url.endswith("/robots.txt")}
    return pages, {row["url"]: row["reason"] for row in failures(folder / "spool").to_dicts()}


class ScriptedSite(ThreadingHTTPServer):
    """Answers by URL: an answer, or a function of the number of earlier requests for the URL. Anything else is 404.

    requests: (URL, headers) of every request so far, without robots.txt where `answers` does not name it.
    """

    daemon_threads = True

    def __init__(self, answers: dict[str, Answer | Callable[[int], Answer]]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.requests: list[tuple[str, dict[str, str]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def urls(self) -> list[str]:
        return [url for url, _ in self.requests]

    def crawl(self, *seeds: str, **fields: object) -> WebCrawl:
        """A source without delays and retries."""
        settings = {
            "proxy": f"http://127.0.0.1:{self.server_address[1]}",
            "delay": 0.0,
            "retries": 0,
            "timeout": 5.0,
            "clock": CLOCK,
            **fields,
        }
        return WebCrawl(seeds=seeds, **settings)

    def handle_error(self, request: object, client_address: object) -> None:
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedSite

    def do_GET(self) -> None:
        earlier = self.server.urls.count(self.path)
        self.server.requests.append((self.path, dict(self.headers)))
        answer = self.server.answers.get(self.path, (404, HTML, b"<h1>404</h1>"))
        status, headers, body = answer(earlier) if callable(answer) else answer
        if not status:
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return None
