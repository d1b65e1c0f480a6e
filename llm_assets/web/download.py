"""Downloads a file, or a range of its bytes, completely or not at all.

It resumes what arrived in part, retries with backoff, and checks the length.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from llm_assets.artifacts.errors import DISK_ERRORS
from llm_assets.artifacts.record import fsync_path

from .errors import AbsentFile, DownloadError, GaveUp
from .retry_after import retry_after

_CHUNK_BYTES = 1 << 20
_RETRIED_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_ABSENT_STATUSES = {404, 410, 416}
MAX_BACKOFF = 60.0  # seconds
MAX_RETRY_AFTER = 300.0  # seconds
USER_AGENT = "llm-assets/0.1"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after which wait a download is retried.

    Attempt n + 1 begins ``backoff * 2**n`` seconds after the last (at most 60), and not before Retry-After says.
    timeout: seconds for a connection or a read. sleep: replaceable in tests.
    """

    retries: int = 8
    backoff: float = 1.0
    timeout: float = 60.0
    sleep: Callable[[float], None] = time.sleep


DEFAULT_RETRIES = RetryPolicy()


@dataclass(frozen=True)
class _Failure:
    """A failed attempt. wait: seconds that the server requested."""

    problem: str
    wait: float = 0.0


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
    try:
        _retry(url, policy, lambda: _attempt(url, partial, policy.timeout), lambda: partial.size)
    except GaveUp as error:
        raise DownloadError(f"{error}; {partial.size} bytes are kept in {partial.data}") from None
    fsync_path(partial.data)
    os.replace(partial.data, target)
    partial.etag.unlink(missing_ok=True)
    return target


@dataclass(frozen=True)
class ByteRange:
    """Bytes of a file, from `start` on; a negative `start` counts from the end. file_size: of the whole file."""

    start: int
    data: bytes
    file_size: int


class RangeReader:
    """Reads ranges of files over one kept-alive connection. Not for several threads."""

    def __init__(self, policy: RetryPolicy = DEFAULT_RETRIES):
        self.policy = policy
        self._session = requests.Session()
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": USER_AGENT})

    def read(self, url: str, start: int, length: int) -> ByteRange:
        """`length` bytes from `start` on, or the last -`start` bytes; fewer only where the file ends.

        Retries like `download`, and continues after the bytes that arrived. Raises AbsentFile if the server has no
        such file or the range begins beyond its end, and DownloadError for all else.
        """
        range_ = _PartialRange(url, start, length)
        _retry(url, self.policy, lambda: self._attempt(range_), lambda: len(range_.data))
        return ByteRange(range_.start, bytes(range_.data), range_.file_size)

    def _attempt(self, range_: _PartialRange) -> _Failure | None:
        """Try to fetch the rest of a range once; None if it is complete."""
        headers = {"Range": range_.header()}
        try:
            with self._session.get(range_.url, headers=headers, stream=True, timeout=self.policy.timeout) as response:
                failure = range_.check(response)
                if failure is not None:
                    return failure
                while chunk := response.raw.read(min(_CHUNK_BYTES, range_.missing)):
                    range_.data += chunk
        except Exception as error:
            return _network_failure(error)
        return _Failure(f"{range_.missing} bytes are missing") if range_.missing else None


class _PartialRange:
    """As much of a range as has arrived. start: negative, from the end, until an answer tells the file's size."""

    def __init__(self, url: str, start: int, length: int):
        self.url, self.start, self.length = url, start, length
        self.data = bytearray()
        self.file_size = 0

    @property
    def missing(self) -> int:
        return self.length - len(self.data)

    def header(self) -> str:
        """The Range header of a request for what is missing."""
        if self.start < 0:
            return f"bytes={self.start}"
        return f"bytes={self.start + len(self.data)}-{self.start + self.length - 1}"

    def check(self, response: Any) -> _Failure | None:
        """Why an answer cannot be used; None if its body continues the range. Notes the file's size."""
        failure = _status_failure(self.url, response)
        if failure is not None:
            return failure
        if response.status_code == 200:
            raise DownloadError(f"{self.url}: the server ignores Range, and would send the whole file")
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or (self.start >= 0 and int(match[1]) != self.start + len(self.data)):
            return _Failure(f"the server answered with another range ({response.headers.get('Content-Range')})")
        self.file_size = int(match[3])
        if self.start < 0:
            self.start = int(match[1])
        self.length = min(self.length, self.file_size - self.start)
        return None


def _retry(url: str, policy: RetryPolicy, attempt: Callable[[], _Failure | None], received: Callable[[], int]) -> None:
    """Call `attempt` until it succeeds. received: the number of bytes that have arrived so far.

    Raises GaveUp after `policy.retries` failures in a row that brought no byte.
    """
    failures = 0
    while True:
        bytes_before = received()
        failure = attempt()
        if failure is None:
            return
        failures = 1 if received() > bytes_before else failures + 1
        if failures > policy.retries:
            raise GaveUp(f"{url}: {failure.problem}; gave up after {failures} tries")
        backoff = min(policy.backoff * 2 ** (failures - 1), MAX_BACKOFF)
        policy.sleep(max(backoff, failure.wait))


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
    except Exception as error:
        return _network_failure(error)
    if expected is not None and size != expected:
        if size > expected:
            partial.data.unlink(missing_ok=True)
        return _Failure(f"received {size} of {expected} bytes")
    return None


def _network_failure(error: Exception) -> _Failure:
    """An error of the network as a failed attempt. Raises every other error."""
    is_network = isinstance(error, (requests.RequestException, OSError)) and error.errno not in DISK_ERRORS
    # urllib3's own exceptions are raised by `raw.read`.
    if not is_network and type(error).__module__.split(".")[0] != "urllib3":
        raise error
    return _Failure(f"{type(error).__name__}: {error}")


def _status_failure(url: str, response: Any) -> _Failure | None:
    """A status that may pass as a failed attempt; None for one with a body. Raises for one that will not change."""
    status = response.status_code
    if status in _RETRIED_STATUSES:
        wait = retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", ""))
        return _Failure(f"HTTP {status}", min(wait or 0.0, MAX_RETRY_AFTER))
    if status in (200, 206):
        return None
    raise (AbsentFile if status in _ABSENT_STATUSES else DownloadError)(f"{url}: HTTP {status} {response.reason}")


def _check_complete(response: Any, partial: _Partial, start: int) -> _Failure | None:
    """Whether a range that the server cannot satisfy begins at the end of the file, which is complete then."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total.isdecimal() and int(total) == start:
        return None
    partial.data.unlink(missing_ok=True)
    return _Failure("the partial file does not belong to the server's file")


def _check_status(url: str, response: Any, partial: _Partial, start: int) -> _Failure | None:
    """Why an answer cannot be used; None if its body is the file or the requested range."""
    failure = _status_failure(url, response)
    if failure is not None:
        return failure
    content_range = response.headers.get("Content-Range", "")
    if response.status_code == 206 and content_range.removeprefix("bytes ").partition("-")[0] != str(start):
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
