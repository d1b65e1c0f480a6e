"""What every request passes first: the host it names, the key, its type, its size, and the time it takes to arrive."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .errors import ApiError
from .frame_links import is_signed
from .limits import Limits

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HOST = re.compile(r"(?:\[([^\[\]@]*)\]|([^\[\]:@]*))(?::\d*)?")  # of a URL: a name or an address, and a port
# Without a key: the page holds nothing of the models' or the users', and a browser opens it without a header.
OPEN_PATHS = ("/health", "/")
OPEN_FOLDER = "/page/"
DRAIN_FACTOR = 64  # times the limit of a body that are read and dropped, so that its sender gets to read the answer

SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class SlowReader(Exception):
    """A client that reads too little of its answer, which would have to be kept in memory."""


class RequestChecks:
    """ASGI middleware. key: the bearer key; empty for none. host: on which the server listens.

    A page of another website can make a browser send requests to this machine. Without CORS it reads no answer, and it
    cannot send JSON. Browsers mark its requests (Sec-Fetch-Site), of which only links to the page are answered. A name
    that it has pointed at this machine (DNS rebinding) is refused. Where a key is required the name may be any, such as
    that of a proxy: the page does not have the key.
    """

    def __init__(self, app: Any, limits: Limits, key: str = "", host: str = "127.0.0.1"):
        self.app, self.limits, self.key, self.hosts = app, limits, key, (*LOOPBACK, host.lower())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # as GET; the HTTP server leaves out the body
            scope = {**scope, "method": "GET"}
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check(scope, headers)
            body = await asyncio.wait_for(self._body(receive), self.limits.body_seconds)
        except TimeoutError:
            await respond(send, ApiError(408, "the request's body did not arrive in time", "timeout"))
            return
        except ApiError as error:
            await respond(send, error)
            return
        if body is None:
            return  # the client has gone

        async def send_in_time(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), self.limits.send_seconds)
            except TimeoutError:
                raise SlowReader from None

        with contextlib.suppress(SlowReader):  # the connection is closed
            await self.app(scope, _replay(body, receive), send_in_time)

    def _check(self, scope: Message, headers: dict[str, str]) -> None:
        host = headers.get("host", "").lower()
        match = HOST.fullmatch(host)
        if not self.key and (match is None or (match[1] or match[2]) not in self.hosts):
            message = f"the host {host[:100]!r} is not served; use 127.0.0.1 or localhost"
            raise ApiError(403, message, "host_not_allowed")
        if headers.get("sec-fetch-site") == "cross-site" and not _is_link_to_page(scope, headers):
            raise ApiError(403, "a page of another website may not send requests", "cross_site")
        is_open = scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDER)
        query = scope.get("query_string", b"").decode("latin-1")
        is_open = is_open or (scope["method"] == "GET" and is_signed(self.key, scope["path"], query))
        if self.key and not is_open:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            is_right = hmac.compare_digest(given.strip().encode(), self.key.encode())
            if scheme.lower() != "bearer" or not is_right:
                raise ApiError(401, "no key, or a wrong one: send Authorization: Bearer KEY", "invalid_api_key")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            raise ApiError(415, "the body must be JSON, with Content-Type: application/json", "unsupported_media_type")

    async def _body(self, receive: Receive) -> bytes | None:
        """The body; None if the client has gone. Raises ApiError (413)."""
        chunks: list[bytes] = []
        size, limit = 0, self.limits.body_bytes
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
            else:
                chunks.clear()
            if not message.get("more_body") or size > DRAIN_FACTOR * limit:
                break
        if size > limit:
            raise ApiError(413, f"the body is larger than {limit:,} bytes", "body_too_large")
        body = b"".join(chunks)
        check_characters(body)
        return body


def _is_link_to_page(scope: Message, headers: dict[str, str]) -> bool:
    """Whether a browser opens the page in a tab of its own, as when a link is followed."""
    is_tab = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return is_tab and scope["method"] == "GET" and scope["path"] == "/"


def check_characters(body: bytes) -> None:
    """Raise ApiError if a body has half of a surrogate pair, which JSON may escape and which is not text."""
    if SURROGATE.search(body):
        with contextlib.suppress(ValueError, RecursionError):  # what is not JSON is refused later
            value = json.loads(body)
            try:
                json.dumps(value, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise ApiError(400, "the body has half of a surrogate pair, which is not a character") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, and then what else comes: that the client has gone."""
    is_read = False

    async def replayed() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def respond(send: Send, error: ApiError) -> None:
    """Answer with an error; the connection is closed, since not all of the request may have been read."""
    body = json.dumps(error.body()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
