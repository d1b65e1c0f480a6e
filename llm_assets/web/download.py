"""Download a file whole or not at all: range resume, retries with backoff, length check."""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Callable
from pathlib import Path

import requests

from llm_assets.artifacts.record import fsync_path
from llm_assets.artifacts.store import DISK_ERRORS

from .errors import DownloadError

_CHUNK = 1 << 20
_RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}
MAX_BACKOFF = 60.0  # seconds


def download(
    url: str,
    target: Path,
    retries: int = 8,
    backoff: float = 1.0,
    timeout: float = 60.0,
    on_bytes: Callable[[int, int | None], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch `url` into `target`, going on from a partial ``<target>.partial`` where the server still has the same file.

    Waits ``backoff * 2**n`` seconds (at most 60, or what Retry-After asks) before try n+1. Every try that brings new
    bytes starts the count anew, so that a large file over a bad line comes through. Raises DownloadError with the
    last problem when the tries are spent, at once for a status that will not change (403, 404 ...).
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    validator = target.with_name(f"{target.name}.etag")
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        problem, wait = _attempt(url, partial, validator, timeout, on_bytes)
        if problem is None:
            fsync_path(partial)
            os.replace(partial, target)
            validator.unlink(missing_ok=True)
            return target
        after = partial.stat().st_size if partial.exists() else 0
        failures = 1 if after > before else failures + 1
        if failures > retries:
            raise DownloadError(
                f"{url}: {problem}; given up after {failures} tries, {after} bytes are kept in {partial}"
            )
        sleep(wait if wait is not None else min(backoff * 2 ** (failures - 1), MAX_BACKOFF))


def _attempt(
    url: str, partial: Path, validator: Path, timeout: float, on_bytes: Callable[[int, int | None], None] | None
) -> tuple[str | None, float | None]:
    """One try: (None, None) when the file is whole, else what went wrong and how long the server asked to wait."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator.exists():
            headers["If-Range"] = validator.read_text()
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == 416:
                total = response.headers.get("Content-Range", "").rpartition("/")[2]
                if total.isdigit() and int(total) == have:
                    return None, None
                partial.unlink(missing_ok=True)
                return "the partial file is not a part of what the server has", 0.0
            if response.status_code in _RETRY_STATUS:
                return f"HTTP {response.status_code}", _retry_after(response.headers.get("Retry-After"))
            if response.status_code not in (200, 206):
                raise DownloadError(f"{url}: HTTP {response.status_code} {response.reason}")
            resumed = response.status_code == 206
            if resumed and response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0] != str(
                have
            ):
                partial.unlink(missing_ok=True)
                return f"the server answered with another range ({response.headers.get('Content-Range')})", None
            length = response.headers.get("Content-Length")
            expected = int(length) + (have if resumed else 0) if length is not None and length.isdigit() else None
            etag = response.headers.get("ETag", "")
            if etag and not etag.startswith("W/"):
                validator.write_text(etag)
            else:
                validator.unlink(missing_ok=True)
            with open(partial, "ab" if resumed else "wb") as stream:
                written = have if resumed else 0
                # The raw stream: `iter_content` would raise only at the end of a cut body and hide what came before.
                while chunk := response.raw.read(_CHUNK):
                    stream.write(chunk)
                    written += len(chunk)
                    if on_bytes is not None:
                        on_bytes(written, expected)
                stream.flush()
                os.fsync(stream.fileno())
    except (requests.RequestException, OSError) as error:
        if error.errno in DISK_ERRORS:
            raise  # our own disk, not the network
        return f"{type(error).__name__}: {error}", None
    except Exception as error:  # urllib3's own family, raised by raw.read
        if type(error).__module__.split(".")[0] != "urllib3":
            raise
        return f"{type(error).__name__}: {error}", None
    if expected is not None and written != expected:
        if written > expected:
            partial.unlink(missing_ok=True)
        return f"{written} bytes came of {expected}", None
    return None, None


def _retry_after(value: str | None) -> float | None:
    if not value:
        return None
    if value.strip().isdigit():
        return min(float(value), 300.0)
    try:
        return min(max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time()), 300.0)
    except (TypeError, ValueError):
        return None
