"""Fetches records of remote WARC files by byte range into one WARC file, and verifies them."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from llm_assets.warc import normal_digest, read_member

from .download import RangeReader, RetryPolicy
from .errors import AbsentFile

# Records of one file are fetched with one request if the gap between them is at most this, about three pages: the
# request and metadata records beside a response are some hundred bytes. Of 881 records (11.5 MB) among 8,325, this
# makes 578 requests of 14.8 MB; no gap makes 823 requests, and 128 KiB makes 230 of 40.2 MB.
MAX_GAP_BYTES = 32 << 10
MAX_REQUEST_BYTES = 8 << 20  # unless one record is larger


@dataclass(frozen=True)
class RemoteRecord:
    """A record's place in an archive, and what its index says of it. digest: of the payload; empty if unknown."""

    file: str
    offset: int
    length: int
    url: str
    digest: str = ""

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True)
class RejectedRecord:
    """A record that was not stored. reason: as in CrawlFailures."""

    record: RemoteRecord
    reason: str
    detail: str


@dataclass(frozen=True)
class RecordGroup:
    """Neighbouring records of one file, which are fetched with one request."""

    records: list[RemoteRecord]

    @property
    def file(self) -> str:
        return self.records[0].file

    @property
    def start(self) -> int:
        return self.records[0].offset

    @property
    def end(self) -> int:
        return max(record.end for record in self.records)


@dataclass(frozen=True)
class _Arrival:
    """A group that has been fetched. stored_bytes: of its good records. rejected: number, reason, detail of others."""

    stored_bytes: int
    rejected: list[tuple[int, str, str]]


def group_neighbours(records: Iterable[RemoteRecord]) -> list[RecordGroup]:
    """The records in groups, each for one request. records: in the order of their files and offsets."""
    groups: list[RecordGroup] = []
    for record in records:
        last = groups[-1] if groups else None
        if (
            last is not None
            and last.file == record.file
            and record.offset - last.end <= MAX_GAP_BYTES
            and max(record.end, last.end) - last.start <= MAX_REQUEST_BYTES
        ):
            last.records.append(record)
        else:
            groups.append(RecordGroup([record]))
    return groups


class RecordFetch:
    """Fetches records group by group into a WARC file. An interrupted fetch continues at the next group.

    base_url: the folder of the archive's files. connections: requests in flight. target: the WARC file, which grows
    while records arrive. journal: what has arrived, a line for each group.
    """

    def __init__(self, base_url: str, policy: RetryPolicy, connections: int, target: Path, journal: Path):
        self.base_url, self.policy, self.connections = base_url.rstrip("/"), policy, connections
        self.target, self.journal = target, journal
        self._local = threading.local()

    def run(self, records: Iterable[RemoteRecord]) -> list[RejectedRecord]:
        """Store the records, in their order and as they are in the archive, and return those that are left out.

        Raises DownloadError if a request failed after all its retries; what has arrived is kept.
        """
        groups = group_neighbours(records)
        for path in (self.target, self.journal):
            path.parent.mkdir(parents=True, exist_ok=True)
        arrivals = self._read_journal(groups)
        with (
            open(self.target, "ab") as target,
            open(self.journal, "a", encoding="utf-8") as journal,
            ThreadPoolExecutor(self.connections) as executor,
        ):
            target.truncate(sum(arrival.stored_bytes for arrival in arrivals))
            for group, (data, absence) in self._in_order(executor, groups[len(arrivals) :]):
                stored, rejected = _good_records(group, data, absence)
                target.write(stored)
                target.flush()
                os.fsync(target.fileno())
                arrivals.append(_Arrival(len(stored), rejected))
                journal.write(json.dumps([len(group.records), len(stored), rejected]) + "\n")
                journal.flush()
        return [
            RejectedRecord(group.records[number], reason, detail)
            for group, arrival in zip(groups, arrivals, strict=True)
            for number, reason, detail in arrival.rejected
        ]

    def _read_journal(self, groups: list[RecordGroup]) -> list[_Arrival]:
        """The groups that an interrupted fetch has stored. A kill may have left an incomplete last line."""
        text = self.journal.read_text(encoding="utf-8") if self.journal.exists() else ""
        text = text[: text.rfind("\n") + 1]
        lines = [json.loads(line) for line in text.splitlines()]
        stored = self.target.stat().st_size if self.target.exists() else 0
        counts = [len(group.records) for group in groups[: len(lines)]]
        if [line[0] for line in lines] != counts or sum(line[1] for line in lines) > stored:
            # The groups were formed by another version of this module, or a power cut took the file's end.
            text, lines = "", []
        self.journal.write_text(text, encoding="utf-8")
        return [_Arrival(stored_bytes, [tuple(reject) for reject in rejected]) for _, stored_bytes, rejected in lines]

    def _in_order(
        self, executor: ThreadPoolExecutor, groups: list[RecordGroup]
    ) -> Iterator[tuple[RecordGroup, tuple[bytes, str]]]:
        """Each group with what `_request` returns for it. At most twice as many as the connections are in memory."""
        pending: deque[tuple[RecordGroup, Future[tuple[bytes, str]]]] = deque()
        queue = iter(groups)
        try:
            while True:
                for group in itertools.islice(queue, 2 * self.connections - len(pending)):
                    pending.append((group, executor.submit(self._request, group)))
                if not pending:
                    return
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()

    def _request(self, group: RecordGroup) -> tuple[bytes, str]:
        """A group's bytes, fewer if the file ends before, and why there are none."""
        if not hasattr(self._local, "reader"):
            self._local.reader = RangeReader(self.policy)
        try:
            url = f"{self.base_url}/{group.file}"
            return self._local.reader.read(url, group.start, group.end - group.start).data, ""
        except AbsentFile as error:
            return b"", str(error)


def _good_records(group: RecordGroup, data: bytes, absence: str) -> tuple[bytes, list[tuple[int, str, str]]]:
    """The bytes of the records that are what the index says, and number, reason and detail of the others.

    data: of the group's range, from its start. absence: why there are none.
    """
    stored, rejected = [], []
    for number, record in enumerate(group.records):
        piece = data[record.offset - group.start : record.end - group.start]
        problem = ("not_in_archive", absence) if absence else _problem(record, piece)
        if problem is None:
            stored.append(piece)
        else:
            rejected.append((number, *problem))
    return b"".join(stored), rejected


def _problem(record: RemoteRecord, data: bytes) -> tuple[str, str] | None:
    """Why bytes are not the record that the index names, as reason and detail; None if they are."""
    place = f"{record.file}, bytes {record.offset}-{record.end - 1}"
    if len(data) < record.length:
        return "damaged", f"{place}: the file ends inside the record"
    capture = read_member(data)
    if capture.error is not None:
        return "damaged", f"{place}: {capture.error}"
    digest = capture.digest or capture.declared_digest or ""
    if record.digest and normal_digest(record.digest) != digest:
        other = "" if capture.url == record.url else f" of {capture.url}"
        return "digest_mismatch", f"{place}: a payload{other} with {digest}; the index says {record.digest}"
    if capture.url != record.url:
        return "damaged", f"{place}: the record of another URL, {capture.url}"
    return None
