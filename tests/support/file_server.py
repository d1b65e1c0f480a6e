"""An HTTP server of files in memory, with byte ranges, that drops connections, cuts bodies and refuses requests."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Request:
    """A request that the server has answered. range: its Range header."""

    path: str
    range: str | None


class FileServer(ThreadingHTTPServer):
    """Serves `files`, by path, on loopback while it is a context.

    trouble: what goes wrong with each request in turn: busy, drop (the connection), cut (the body), stall (there is no
    answer until the server ends; `stalled` is set), or None.
    ranges: whether it answers ranges. sent_bytes: of the bodies so far. now: its clock. retry_after: of busy answers.
    """

    daemon_threads = True

    def __init__(
        self, files: dict[str, bytes], trouble: Sequence[str | None] = (), ranges: bool = True, etag: str = '"v1"'
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.trouble, self.ranges, self.etag = files, list(trouble), ranges, etag
        self.requests: list[Request] = []
        self.sent_bytes = 0
        self.now, self.retry_after = time.time, "0"
        self.stalled, self.ended = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        return None

    def __enter__(self) -> FileServer:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()


def _bounds(header: str, size: int) -> tuple[int, int]:
    """Start and end (exclusive) of a Range header; the start is at least `size` for one that cannot be satisfied."""
    first, last = RANGE.fullmatch(header).groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(Request(self.path, wanted))
        data = self.server.files.get(self.path)
        trouble = self.server.trouble.pop(0) if self.server.trouble else None
        if trouble == "stall":
            self.server.stalled.set()
            self.server.ended.wait()
            self.close_connection = True
        elif trouble == "busy":
            self.refuse(503, {"Retry-After": self.server.retry_after})
        elif data is None:
            self.refuse(404)
        elif wanted and self.server.ranges and self.headers.get("If-Range", self.server.etag) == self.server.etag:
            start, end = _bounds(wanted, len(data))
            if start >= len(data):
                self.refuse(416, {"Content-Range": f"bytes */{len(data)}"})
            else:
                self.send(206, data[start:end], trouble, {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})
        else:
            self.send(200, data, trouble)

    def refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status: int, body: bytes, trouble: str | None, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "ETag": self.server.etag, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if trouble in ("drop", "cut"):
            self.send_header("Connection", "close")
            self.close_connection = True
            body = body[: len(body) // 3] if trouble == "drop" else body[:-7]
        self.end_headers()
        self.wfile.write(body)
        self.server.sent_bytes += len(body)
        if trouble == "drop":
            self.wfile.flush()
            self.connection.close()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.server.now() if timestamp is None else timestamp)

    def log_message(self, *arguments: object) -> None:
        return None
