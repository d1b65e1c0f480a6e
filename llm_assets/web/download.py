"""Downloads a file completely or not at all: it resumes partial files, retries with backoff, and checks the length."""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from llm_assets.artifacts.record import fsync_path
from llm_assets.artifacts.store import DISK_ERRORS

from .errors import DownloadError

_CHUNK_BYTES = 1 << 20
_RETRIED_STATUSES = {408, 425, 429, 500, 502, 503, 504}
MAX_BACKOFF = 60.0  # seconds
MAX_RETRY_AFTER = 300.0  # seconds


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after which wait a download is retried.

    Attempt n + 1 begins ``backoff * 2**n`` seconds after the last (at most 60), or when Retry-After says. timeout:
    seconds for a connection or a read. sleep: replaceable in tests.
    """

    retries: int = 8
    backoff: float = 1.0
    timeout: float = 60.0
    sleep: Callable[[float], None] = time.sleep


DEFAULT_RETRIES = RetryPolicy()


@dataclass(frozen=True)
class _Failure:
    """A failed attempt. wait: seconds that the server requested; None for the usual backoff."""

    problem: str
    wait: float | None = None


@dataclass(frozen=True)
class _Partial:
    """A partial download: the bytes so far, and a file with the ETag of the version that they belong to."""

    data: Path
    etag: Path

    @property
    def size(self) -> int:
        return self.data.stat().st_size if self.data.exists() else 0

    def request_headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self.etag.exists():
                headers["If-Range"] = self.etag.read_text()
        return headers

    def remember_version(self, etag: str) -> None:
        """Keep a strong ETag; a weak one cannot validate a range (RFC 9110, section 13.1.5)."""
        if etag and not etag.startswith("W/"):
            self.etag.write_text(etag)
        else:
            self.etag.unlink(missing_ok=True)


def download(url: str, target: Path, policy: RetryPolicy = DEFAULT_RETRIES) -> Path:
    """Fetch `url` into `target`, and return it; an existing target is not fetched again.

    Continues ``<target>.partial`` if the server still has the same file. An attempt that brings new bytes resets the
    count of retries, so that a large file arrives over a bad line. Raises DownloadError with the last problem when all
    retries have failed, and at once for a status that will not change (403, 404 …).
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _Partial(target.with_name(f"{target.name}.partial"), target.with_name(f"{target.name}.etag"))
    failures = 0
    while True:
        size_before = partial.size
        failure = _attempt(url, partial, policy.timeout)
        if failure is None:
            fsync_path(partial.data)
            os.replace(partial.data, target)
            partial.etag.unlink(missing_ok=True)
            return target
        size = partial.size
        failures = 1 if size > size_before else failures + 1
        if failures > policy.retries:
            raise DownloadError(
                f"{url}: {failure.problem}; gave up after {failures} tries; {size} bytes are kept in {partial.data}"
            )
        backoff = min(policy.backoff * 2 ** (failures - 1), MAX_BACKOFF)
        policy.sleep(backoff if failure.wait is None else failure.wait)


def _attempt(url: str, partial: _Partial, timeout: float) -> _Failure | None:
    """Try to fetch the rest of a file once; None if it is complete."""
    start = partial.size
    try:
        with requests.get(url, headers=partial.request_headers(), stream=True, timeout=timeout) as response:
            if response.status_code == 416:
                return _check_complete(response, partial, start)
            failure = _check_status(url, response, partial, start)
            if failure is not None:
                return failure
            resumed = response.status_code == 206
            received = start if resumed else 0
            length = response.headers.get("Content-Length")
            expected = int(length) + received if length is not None and length.isdecimal() else None
            partial.remember_version(response.headers.get("ETag", ""))
            size = received + _write_body(response, partial, append=resumed)
    except (requests.RequestException, OSError) as error:
        if error.errno in DISK_ERRORS:
            raise  # our own disk, not the network
        return _Failure(f"{type(error).__name__}: {error}")
    except Exception as error:  # urllib3's own exceptions, raised by raw.read
        if type(error).__module__.split(".")[0] != "urllib3":
            raise
        return _Failure(f"{type(error).__name__}: {error}")
    if expected is not None and size != expected:
        if size > expected:
            partial.data.unlink(missing_ok=True)
        return _Failure(f"received {size} of {expected} bytes")
    return None


def _check_complete(response: Any, partial: _Partial, start: int) -> _Failure | None:
    """Whether a range that the server cannot satisfy begins at the end of the file, which is complete then."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total.isdecimal() and int(total) == start:
        return None
    partial.data.unlink(missing_ok=True)
    return _Failure("the partial file does not belong to the server's file", wait=0.0)


def _check_status(url: str, response: Any, partial: _Partial, start: int) -> _Failure | None:
    """Why an answer cannot be used; None if its body is the file or the requested range."""
    status = response.status_code
    if status in _RETRIED_STATUSES:
        return _Failure(f"HTTP {status}", _retry_after(response.headers.get("Retry-After")))
    if status not in (200, 206):
        raise DownloadError(f"{url}: HTTP {status} {response.reason}")
    content_range = response.headers.get("Content-Range", "")
    if status == 206 and content_range.removeprefix("bytes ").partition("-")[0] != str(start):
        partial.data.unlink(missing_ok=True)
        return _Failure(f"the server answered with another range ({response.headers.get('Content-Range')})")
    return None


def _write_body(response: Any, partial: _Partial, append: bool) -> int:
    """Write the body to the partial file; returns its number of bytes."""
    written = 0
    with open(partial.data, "ab" if append else "wb") as stream:
        # The raw stream: `iter_content` raises only at the end of a truncated body, and hides the bytes before it.
        while chunk := response.raw.read(_CHUNK_BYTES):
            stream.write(chunk)
            written += len(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    return written


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    if not value:
        return None
    if value.strip().isdecimal():
        return min(float(value), MAX_RETRY_AFTER)
    try:
        wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError):
        return None
    return min(max(0.0, wait), MAX_RETRY_AFTER)
