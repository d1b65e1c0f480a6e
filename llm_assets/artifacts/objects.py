"""Objects below a URL: ``s3://bucket/prefix``, ``gs://``, ``az://``, or ``local:///folder`` for a shared folder.

The client is obstore, a binding of the Rust crate `object_store`, and not s3fs. Measured on the same local server, CPU
seconds of obstore 0.12.1 and of s3fs 2026.9: 2,000 small writes 1.4 and 4.6, 2,000 small reads 1.3 and 9.8, 200 reads
in turn 0.08 and 1.2, a listing of 2,000 objects 0.01 and 0.2, the import 0.01 and 0.4. obstore writes conditionally at
every provider and in a folder, and depends on no botocore, of which s3fs needs another version than the tests' server.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from .errors import ArtifactError, StoreUnreachable, StoreUnwritable

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE_SECONDS = 180.0  # for which a request that fails for a passing reason is repeated
MOST_PAUSE_SECONDS = 15.0  # between two tries
PART_BYTES = 16 << 20  # of a multipart upload or a partial download; memory is a few times this per file
MOST_PARTS = 9_000  # S3 accepts 10,000 parts of one upload
REQUEST_SECONDS = "120s"  # a part at 140 kB/s
CLOCK_SECONDS = 600.0  # for which one question for the store's time is enough

_PASSING_STATUS = {"408", "409", "429", "500", "502", "503", "504"}  # 409: two conditional writes met
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "RequestExpired"}
_SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "StorageFull"}
_FULL_DISK = re.compile(r"no space left|quota exceeded", re.IGNORECASE)
_LOST_CONNECTION = re.compile(
    r"HTTP error|error sending request|timed out|connection|error decoding response body", re.I
)
_CLOCK = ".clock"
_DELETED_AT_ONCE = 1000  # objects, the most of one request
_LISTED_AT_ONCE = 1000
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
_DELETIONS = 16  # requests at a time, where each removes one object
# Environment variables of obstore that name another server than the provider's.
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT")


def concurrently(function: Callable[[Item], Result], items: Iterable[Item], at_a_time: int) -> list[Result]:
    """The results of a function that waits for a store, in the order of the items. The first error is raised when the
    calls under way have ended.
    """
    with ThreadPoolExecutor(at_a_time) as pool:
        return list(pool.map(function, items))


@dataclass(frozen=True)
class ObjectInfo:
    """An object of a listing. key: below the store's URL. modified: by the store's clock."""

    key: str
    bytes: int
    modified: datetime
    etag: str


@dataclass(frozen=True)
class _Failure:
    """Why a request failed. status: of HTTP, or empty. code: the store's own word for it, or empty."""

    text: str
    status: str
    code: str

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        text = str(error).split("\n\nDebug source")[0]
        status = re.search(r"status code: (\d+)([\w ]*)", text)
        code, message = (re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S) for tag in ("Code", "Message"))
        if status is None:
            return cls(text, "", "")
        words = f"{status[1]}{status[2]}" + (f", {code[1]}" if code else "")
        words += f": {message[1].splitlines()[0]}" if message and message[1] else ""  # Azure adds lines with an id
        return cls(words.rstrip("."), status[1], code[1] if code else "")

    @property
    def is_full(self) -> bool:
        return self.status == "507" or self.code in _FULL or (not self.status and bool(_FULL_DISK.search(self.text)))

    @property
    def is_expired(self) -> bool:
        return self.code in _EXPIRED

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later."""
        if self.is_full:
            return False
        return self.is_expired or self.status in _PASSING_STATUS or (not self.status and self.is_connection)

    @property
    def is_connection(self) -> bool:
        return bool(_LOST_CONNECTION.search(self.text))

    def advice(self) -> str:
        if self.is_expired:
            return "the credentials have expired: renew them, then run again"
        if self.code in _SKEWED:
            return "the clock of this machine differs from the store's: correct it, then run again"
        if self.code in _NO_BUCKET:
            return "create the bucket, or correct LLM_ASSETS_STORE"
        if self.status in ("401", "403"):
            return "check the credentials and what they allow, then run again"
        return "run again when the store answers"


class ObjectStore:
    """The objects below a URL.

    A request that fails for a passing reason (a status of 5xx or 429, a lost connection, expired credentials) is
    repeated for `patience` seconds; each try is logged with the reason. Then, or for any other reason, every method
    raises StoreUnreachable, or StoreUnwritable if the store is full.
    """

    def __init__(self, url: str, patience: float | None = None):
        self.url = url.rstrip("/")
        self.patience = PATIENCE_SECONDS if patience is None else patience
        self._client = _open(self.url)
        self._skips_absent = self.url.startswith("s3://")  # whether a deletion of many objects skips absent ones
        self._clock: tuple[datetime, float] | None = None
        self._has_conditions = False

    def get(self, key: str) -> bytes | None:
        """The bytes of an object, or None if there is none."""
        import obstore

        with contextlib.suppress(FileNotFoundError):
            return self._request("read", key, lambda client: bytes(obstore.get(client, key).bytes()))
        return None

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes from `start`; at least one must be asked for. Raises FileNotFoundError."""
        import obstore

        return self._request(
            "read", key, lambda client: bytes(obstore.get_range(client, key, start=start, length=length))
        )

    def put(self, key: str, data: bytes) -> None:
        """Write an object, also over an existing one."""
        import obstore

        self._request("write", key, lambda client: obstore.put(client, key, data, use_multipart=False))

    def create(self, key: str, data: bytes) -> bool:
        """Write an object if there is none (``If-None-Match: *``); returns whether this call, or a try of it, did.

        The data must be unlike that of any other caller: after a lost answer, it tells whose object is there.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            self._request("create", key, lambda client: obstore.put(client, key, data, mode="create"))
        except AlreadyExistsError:
            return self.get(key) == data
        return True

    def require_conditional_writes(self) -> None:
        """Raise ArtifactError if the store ignores the condition of `create`, as some old servers do."""
        self.now()
        if not self._has_conditions and self.create(_CLOCK, secrets.token_bytes(8)):
            raise ArtifactError(
                f"{self.url}: the server ignores If-None-Match, so that two builders could hold one lock; "
                "use a version of it that supports conditional writes"
            )
        self._has_conditions = True

    def list(self, folder: str, names: tuple[str, str] | None = None) -> list[ObjectInfo]:
        """The objects whose keys begin with `folder` and a slash, sorted by key. Nothing is downloaded.

        names: the first and last of the folders in it that are wanted; a server lists few others.
        """
        first, last = names or ("", "")
        items = self._request("list", folder, lambda client: self._items(client, folder, first, last))
        objects = [ObjectInfo(item["path"], item["size"], item["last_modified"], item["e_tag"] or "") for item in items]
        return sorted(objects, key=lambda item: item.key)

    def _items(self, client: Any, folder: str, first: str, last: str) -> list[Any]:
        """The entries of a listing, page by page."""
        import obstore

        def name(item: Any) -> str:
            return str(item["path"])[len(folder) + 1 :].split("/")[0]

        items: list[Any] = []
        offset = f"{folder}/{first}" if first else None  # keys after it
        for page in obstore.list(client, folder, offset=offset, chunk_size=_LISTED_AT_ONCE):
            # Azure's emulator lists keys before the offset, too.
            items += [item for item in page if first <= name(item) and (not last or name(item) <= last)]
            if last and not self.url.startswith("local://") and name(page[-1]) > last:  # a folder is not in order
                break
        return items

    def delete(self, keys: Iterable[str], require: Callable[[], None] = lambda: None) -> None:
        """Remove objects. Those that do not exist are skipped. S3 removes a thousand by request, other stores one.

        require: is called before each thousand; what it raises ends the deletion.
        """
        remaining = list(keys)
        for start in range(0, len(remaining), _DELETED_AT_ONCE):
            require()
            self._delete(remaining[start : start + _DELETED_AT_ONCE])

    def _delete(self, keys: list[str]) -> None:
        import obstore

        if self._skips_absent:
            self._request("delete", keys[0], lambda client: obstore.delete(client, keys))
        else:
            concurrently(self._delete_if_there, keys, _DELETIONS)

    def _delete_if_there(self, key: str) -> None:
        import obstore

        try:
            self._request("delete", key, lambda client: obstore.delete(client, key))
        except FileNotFoundError as error:
            failure = _Failure.of(error)
            if failure.code in _NO_BUCKET:
                raise self._error("delete", key, failure, 1) from error

    def upload(self, file: Path, key: str) -> None:
        """Write a file, in parts if it is large. It becomes visible when it is whole."""
        import obstore

        part_bytes = max(PART_BYTES, -(-file.stat().st_size // MOST_PARTS))
        self._request(
            "write", key, lambda client: obstore.put(client, key, file, chunk_size=part_bytes, max_concurrency=4)
        )

    def download(self, key: str, size: int, file: Path) -> None:
        """Read an object of `size` bytes into a file, by ranges. Raises FileNotFoundError."""
        with open(file, "wb") as stream:
            for start in range(0, size, PART_BYTES):
                stream.write(self.read_range(key, start, min(PART_BYTES, size - start)))
            stream.flush()
            os.fsync(stream.fileno())

    def now(self) -> datetime:
        """The store's own time, to compare with when its objects were modified. The local clock is not read."""
        import obstore

        if self._clock is None or time.monotonic() - self._clock[1] > CLOCK_SECONDS:
            self.put(_CLOCK, b"")
            modified = self._request("read", _CLOCK, lambda client: obstore.head(client, _CLOCK))["last_modified"]
            self._clock = (modified, time.monotonic())  # early rather than late, also if another machine wrote it last
        return self._clock[0] + timedelta(seconds=time.monotonic() - self._clock[1])

    def _request(self, verb: str, key: str, send: Callable[[Any], Result]) -> Result:
        """Send a request, again if it fails for a passing reason.

        AlreadyExistsError is raised as it is, and so is FileNotFoundError of an object that is read or deleted; of any
        other request, it is the bucket that does not exist.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError

        began, pause, tries = time.monotonic(), 0.5, 1
        while True:
            try:
                return send(self._client)
            except AlreadyExistsError:
                raise
            except (BaseError, OSError) as error:
                is_object = verb == "read" or (verb == "delete" and not self._skips_absent)
                if isinstance(error, FileNotFoundError) and is_object:
                    raise
                failure = _Failure.of(error)
                if failure.is_expired:
                    self._client = _open(self.url)  # reads renewed credentials
                left = self.patience - (time.monotonic() - began)
                if not failure.is_passing or left <= 0:
                    raise self._error(verb, key, failure, tries) from error
                pause = min(2 * pause, MOST_PAUSE_SECONDS, max(left, 0.1))
                repeated = f"trying again in {pause:.0f} s, for {left:.0f} s"
                log.warning("cannot %s %s/%s: %s; %s", verb, self.url, key, failure.text, repeated)
                time.sleep(pause)
                tries += 1

    def _error(self, verb: str, key: str, failure: _Failure, tries: int) -> ArtifactError:
        where = f"cannot {verb} {self.url}/{key}: {failure.text}"
        if failure.is_full:
            return StoreUnwritable(
                f"{where}. The object store is full. Nothing was published, and finished tasks are kept; "
                "free space (llm-assets artifacts gc --delete), then run again"
            )
        count = f" ({tries} tries)" if tries > 1 else ""
        return StoreUnreachable(
            f"{where}{count}. Nothing was published, and finished tasks are kept; {failure.advice()}"
        )


class RangeFile(io.RawIOBase):
    """An object as a seekable file: each read is a request for a range. Wrap it in a `BufferedReader`.

    missing: gives the error that a read raises if there is no such object.
    """

    def __init__(self, objects: ObjectStore, key: str, size: int, missing: Callable[[], ArtifactError]):
        self._objects, self._key, self._size, self._position, self._missing = objects, key, size, 0, missing

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._position)
        if length <= 0:
            return 0
        try:
            data = self._objects.read_range(self._key, self._position, length)
        except FileNotFoundError as error:
            raise self._missing() from error
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _open(url: str) -> Any:
    """obstore's client. Raises ArtifactError if it is not installed or the URL is not one of an object store."""
    try:
        from obstore.store import LocalStore, from_url
    except ImportError:
        raise ArtifactError(f"the store {url} needs obstore: pip install 'llm-assets[s3]'") from None
    if url.startswith("local://"):
        return LocalStore(Path(url.removeprefix("local://")), mkdir=True)
    try:
        return from_url(
            url,
            client_options={
                "timeout": REQUEST_SECONDS,
                "connect_timeout": "10s",
                "allow_http": any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS),
            },
            # Short failures are retried silently here; longer ones are retried and logged by this module.
            retry_config={"max_retries": 2, "backoff": {"max_backoff": timedelta(seconds=2)}},
            **_credentials(url),
        )
    except Exception as error:
        raise ArtifactError(f"the store {url}: {_Failure.of(error).text}") from error


def _credentials(url: str) -> dict[str, Any]:
    """For S3, a provider that knows profiles, SSO and credential processes; obstore itself knows the environment,
    web identities and instance metadata."""
    if not url.startswith("s3://") or os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    with contextlib.suppress(ImportError):
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider

        session = boto3.Session()
        if session.get_credentials() is not None:
            return {"credential_provider": Boto3CredentialProvider(session)}
    return {}
