"""An S3 server on this machine, with faults that a test switches on.

moto answers the requests; its import takes some seconds, so that one server serves all tests of a process.
"""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

EXPIRED = ("400 Bad Request", "ExpiredToken", "The provided token has expired.")
FULL = (
    "507 Insufficient Storage",
    "XMinioStorageFull",
    "Storage backend has reached its minimum free drive threshold.",
)
BUSY = ("503 Slow Down", "SlowDown", "Please reduce your request rate.")
SKEWED = (
    "403 Forbidden",
    "RequestTimeTooSkewed",
    "The difference between the request time and the server's is too large.",
)
DENIED = ("403 Forbidden", "AccessDenied", "Access Denied")


@dataclass
class Fault:
    """An answer in place of the server's, to those requests for which `applies(method, path, key id)` is true.

    times: answers after which it ends. after: the request is carried out, and this answer sent in place of its own.
    """

    answer: tuple[str, ...]
    applies: Callable[[str, str, str], bool]
    times: float = math.inf
    after: bool = False


@dataclass
class ObjectServer:
    """The server.

    delay: seconds added to each request. requests: (method, path, bytes sent to the client). ignore_conditions: as a
    server does that does not know conditional writes. as_google: where the XML API of Google Cloud Storage differs from
    S3, its answers: it has a header of its own for conditional writes, and the deletion of an absent object is 404.
    """

    port: int = 0
    delay: float = 0.0
    ignore_conditions: bool = False
    as_google: bool = False
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    _writes: Any = field(default_factory=threading.Lock)

    def new_bucket(self, scheme: str = "s3") -> str:
        """The URL of an empty bucket."""
        name = f"bucket{secrets.token_hex(4)}"  # letters alone: moto does not decode the name in a URL
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{name}", method="PUT")
        urllib.request.urlopen(request).close()
        return f"{scheme}://{name}/store"

    @contextlib.contextmanager
    def fault(self, *answer: str, applies: Callable[[str, str, str], bool] | None = None) -> Iterator[Fault]:
        fault = Fault(answer, applies or (lambda method, path, key_id: True))
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)

    def middleware(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def answer(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            method, path = environment["REQUEST_METHOD"], environment["PATH_INFO"]
            key_id = environment.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
            time.sleep(self.delay)
            if self.as_google:
                environment["HTTP_AUTHORIZATION"] = "AWS tester:signature"  # Google's is another, and none is checked
                if environment.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0":
                    environment["HTTP_IF_NONE_MATCH"] = "*"
            if self.ignore_conditions:
                environment.pop("HTTP_IF_NONE_MATCH", None)
            for fault in list(self.faults):
                if fault.times > 0 and fault.applies(method, path, key_id):
                    fault.times -= 1
                    status, code, message = fault.answer
                    if fault.after:
                        list(application(environment, lambda *arguments: None))
                    start_response(status, [("Content-Type", "application/xml")])
                    self.requests.append((method, path, 0))
                    return [f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()]
            if self.as_google and method == "DELETE" and _is_absent(application, environment):
                bucket = {**environment, "PATH_INFO": f"/{path.split('/')[1]}"}
                missing = "bucket" if _is_absent(application, bucket) else "key"
                start_response("404 Not Found", [("Content-Type", "application/xml")])
                code, message = f"NoSuch{missing.title()}", f"The specified {missing} does not exist."
                return [f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()]
            # moto looks whether an object exists and then writes it; a conditional write must do both at once.
            with self._writes if "HTTP_IF_NONE_MATCH" in environment else contextlib.nullcontext():
                body = list(application(environment, start_response))
            self.requests.append((method, path, sum(map(len, body))))
            return body

        return answer


def _is_absent(application: Callable[..., Iterable[bytes]], environment: dict[str, Any]) -> bool:
    """Whether there is no object at the path of a request."""
    statuses: list[str] = []
    list(application({**environment, "REQUEST_METHOD": "HEAD"}, lambda status, *_: statuses.append(status)))
    return statuses[0].startswith("404")


_server: ObjectServer | None = None


def object_server(monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """The server of this process, without faults; the environment leads clients to it. Skips without moto."""
    global _server
    pytest.importorskip("obstore", reason="object storage needs the extra 's3'")
    pytest.importorskip("moto", reason="the S3 server of the tests is moto: pip install 'llm-assets[test]'")
    if _server is None:
        _server = ObjectServer()
        _start(_server, "127.0.0.1", 0)
    _server.delay, _server.ignore_conditions, _server.as_google = 0.0, False, False
    _server.faults.clear()
    _server.requests.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{_server.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return _server


@contextlib.contextmanager
def serve_objects(host: str, port: int) -> Iterator[ObjectServer]:
    """A server at this address, for other processes. All servers of this process have the same buckets."""
    pytest.importorskip("moto", reason="the S3 server of the tests is moto: pip install 'llm-assets[test]'")
    server = ObjectServer()
    listening = _start(server, host, port)
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()


def _start(server: ObjectServer, host: str, port: int) -> Any:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = server.middleware(DomainDispatcherApplication(create_backend_app))
    listening = make_server(host, port, application, threaded=True, request_handler=WSGIRequestHandler)
    server.port = listening.port
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    return listening
