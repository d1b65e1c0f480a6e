"""Requests to HTTP servers that take and return JSON, tried again a bounded number of times."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from llm_assets.json_values import parse_json

RETRIED_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504}
LONGEST_WAIT = 60.0  # seconds between two tries


class EndpointError(RuntimeError):
    """An endpoint that cannot be reached or does not follow the protocol; the message has its URL and response."""


class EndpointUnavailable(EndpointError):
    """An endpoint that could not be reached or was too busy at every try. A later run may succeed."""


class Access(Protocol):
    """How a server is reached: the environment variable with its key, seconds per request, tries after the first."""

    @property
    def key_variable(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def retries(self) -> int: ...


def key_headers(access: Access) -> dict[str, str]:
    """The header with the server's key; none if the environment has no key."""
    key = os.environ.get(access.key_variable, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def post_json(url: str, body: Any, access: Access, wait: Callable[[float], None] = time.sleep) -> Any:
    """The JSON value that a server answers a POST with; None if it answers with nothing.

    wait: called with seconds between two tries. Raises EndpointUnavailable if every try failed, EndpointError if the
    answer has another status or is no JSON.
    """
    import requests

    headers, problem = key_headers(access), ""
    for attempt in range(access.retries + 1):
        if attempt:
            wait(min(LONGEST_WAIT, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0))
        try:
            response = requests.post(url, json=body, headers=headers, timeout=access.timeout)
        except requests.RequestException as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        if response.status_code in RETRIED_STATUSES:
            problem = f"status {response.status_code}: {response.text[:200]}"
            continue
        if response.status_code != 200:
            raise EndpointError(f"endpoint {url}: status {response.status_code}: {response.text[:300]}")
        try:
            return parse_json(response.content) if response.content.strip() else None
        except (ValueError, RecursionError) as error:
            raise EndpointError(f"endpoint {url}: its response is no JSON ({response.text[:200]!r})") from error
    raise EndpointUnavailable(f"endpoint {url}: {access.retries + 1} tries failed, the last one with {problem}")
