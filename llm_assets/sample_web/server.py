"""Serves the sample web over HTTP on the loopback interface, as a forward proxy, so that its host names work."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from llm_assets.recipes import SampleWeb

from .pages import Web
from .web import make_web

CHUNK_BYTES = 1000


class SampleWebServer(ThreadingHTTPServer):
    """Answers ``GET http://host/path`` from a Web, and unknown URLs with 404.

    requests: path and headers of every request so far.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, web: Web, address: tuple[str, int] = ("127.0.0.1", 0)):
        super().__init__(address, _Handler)
        self.web = web
        self.requests: list[tuple[str, dict[str, str]]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close the connection, as the crawler does when a page is too large."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SampleWebServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        host = parts.netloc or self.headers.get("Host", "")
        path = parts.path or "/"
        self.server.requests.append((self.path, dict(self.headers)))
        if path == "/robots.txt":
            robots = self.server.web.robots.get(host)
            self._send(200 if robots else 404, {"Content-Type": "text/plain"}, (robots or "no robots.txt\n").encode())
            return
        page = self.server.web.pages.get(f"http://{host}{path}")
        if page is None:
            self._send(404, {"Content-Type": "text/html"}, b"<html><body><h1>404</h1></body></html>")
            return
        etag = self.headers.get("If-None-Match")
        if page.status == 200 and etag is not None and etag == page.headers.get("ETag"):
            self._send(304, {"ETag": page.headers["ETag"]}, None)
            return
        self._send(page.status, page.headers, page.body, page.transfer == "chunked")

    def _send(self, status: int, headers: dict[str, str], body: bytes | None, chunked: bool = False) -> None:
        self.send_response_only(status)
        # The web's own clock, so that the records of a crawl do not depend on when it runs.
        self.send_header("Date", self.server.web.clock.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.send_header("Server", "samplehttpd")
        for name, value in headers.items():
            self.send_header(name, value)
        if body is not None and chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is None:
            return
        if chunked:
            for start in range(0, len(body), CHUNK_BYTES):
                chunk = body[start : start + CHUNK_BYTES]
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return None


@contextlib.contextmanager
def serve(source: SampleWeb) -> Iterator[tuple[tuple[str, ...], str, datetime]]:
    """Run the server; yields the seed URLs, the proxy's URL, and the crawl's fixed clock."""
    web = make_web(source.world, source.scale, source.day)
    server = SampleWebServer(web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield web.seeds, server.proxy, web.clock
    finally:
        server.shutdown()
        server.server_close()
