"""Deleting many artifacts at a URL with few requests.

One artifact alone takes some 20 requests. In a batch, one listing shows the claims on all of its artifacts, and a
request removes a thousand objects, so that each takes four to five. Batches follow the order of identities, in which
claims are listed, so that a listing shows few others. The rules are those of a single deletion (`lease`):
whoever deletes holds the claim on the artifact, renews it, and looks before each thousand objects whether it is still
the highest. Other stores than S3 take a request for each object.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .artifact import Artifact
from .build_lock import build_holder
from .errors import ArtifactError, BeingBuilt, LeaseLost, clear_disk_errors
from .identity import SHORT_ID_DIGITS
from .lease import (
    LEASE_SECONDS,
    LOCKS,
    RELEASED,
    RENEW_SECONDS,
    Claim,
    claim_key,
    claim_number,
    is_renewed,
    new_claim,
)
from .objects import ObjectInfo, ObjectStore, concurrently
from .remote_files import RECORDS, record_key
from .remote_place import announce
from .remote_staging import ANNOUNCED, STAGING
from .store import CHECKS, Store

if TYPE_CHECKING:
    from .remote import RemoteStore

log = logging.getLogger(__name__)

BATCH = 200  # artifacts, so that renewing all claims takes seconds
_REQUESTS = 32  # at a time
ANOTHER_BUILDER = "another builder"


class Claims:
    """Claims on several artifacts, by identity, that this process holds and renews.

    refused: who builds those that could not be claimed.
    """

    def __init__(self, objects: ObjectStore):
        self._objects = objects
        self._claims: dict[str, Claim] = {}
        self._numbers: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self._stop = threading.Event()
        self._renewals = threading.Thread(target=self._renew, daemon=True, name="claims to delete")

    @classmethod
    @contextlib.contextmanager
    def acquire(cls, objects: ObjectStore, claims: Mapping[str, Claim]) -> Iterator[Claims]:
        """Hold those claims that can be taken at once. As in `Lease`, a claim of this machine is dead."""
        objects.require_conditional_writes()
        held = cls(objects)
        before = held._listing(objects, claims)
        concurrently(lambda digest: held._take(digest, claims[digest], before[digest[:32]]), claims, _REQUESTS)
        after = held._listing(objects, claims)
        for digest, number in list(held._numbers.items()):
            if claim_number(after[digest[:32]][-1].key) != number:  # it had been used and dropped
                objects.delete([claim_key(digest, number)])
                held._refuse(digest, ANOTHER_BUILDER)
        held._renewals.start()
        try:
            yield held
        finally:
            held._release()

    @property
    def identities(self) -> list[str]:
        """The identities whose artifacts are claimed."""
        return list(self._numbers)

    def require(self) -> None:
        """Ask the store whether all claims still count. Raises LeaseLost."""
        entries = self._listing(self._objects, self._numbers)
        lost = [self._claims[digest].key for digest in self._numbers if not self._counts(digest, entries)]
        if lost:
            raise LeaseLost(
                f"{lost[0]}: {ANOTHER_BUILDER} has taken it over, because this process did not reach "
                f"{self._objects.url} for {LEASE_SECONDS:.0f} s. Nothing was removed since; run again"
            )

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects of the claimed artifacts. Raises LeaseLost."""
        self._objects.delete(keys, self.require)

    def _take(self, digest: str, claim: Claim, entries: list[ObjectInfo]) -> None:
        if entries and is_renewed(self._objects, entries[-1]):
            data = self._objects.get(entries[-1].key)
            last = Claim.load(data, f"{self._objects.url}/{entries[-1].key}") if data is not None else None
            if last is None or (last.machine != claim.machine and last.state != RELEASED):
                return self._refuse(digest, last.holder if last is not None else ANOTHER_BUILDER)
        number = claim_number(entries[-1].key) + 1 if entries else 1
        if not self._objects.create(claim_key(digest, number), claim.dump()):
            return self._refuse(digest, ANOTHER_BUILDER)
        self._claims[digest], self._numbers[digest] = claim, number

    def _refuse(self, digest: str, holder: str) -> None:
        self._numbers.pop(digest, None)
        self.refused[digest] = holder

    @staticmethod
    def _listing(objects: ObjectStore, digests: Iterable[str]) -> dict[str, list[ObjectInfo]]:
        """The claims on artifacts, the highest last, by the first 32 digits of their identity."""
        entries: dict[str, list[ObjectInfo]] = defaultdict(list)
        if names := sorted(digest[:32] for digest in digests):
            for item in objects.list(LOCKS, (names[0], names[-1])):
                entries[item.key.split("/")[1]].append(item)
        return entries

    def _counts(self, digest: str, entries: dict[str, list[ObjectInfo]]) -> bool:
        of_artifact = entries[digest[:32]]
        return bool(of_artifact) and claim_number(of_artifact[-1].key) == self._numbers[digest]

    def _write(self, objects: ObjectStore, digests: Iterable[str], state: str | None = None) -> None:
        """Write claims over themselves, with another state if one is given."""

        def write(digest: str) -> None:
            claim = replace(self._claims[digest], state=state) if state else self._claims[digest]
            objects.put(claim_key(digest, self._numbers[digest]), claim.dump())

        concurrently(write, digests, _REQUESTS)

    def _renew(self) -> None:
        objects = ObjectStore(self._objects.url, patience=0)  # the next renewal is the next try
        while not self._stop.wait(RENEW_SECONDS):
            try:
                entries = self._listing(objects, self._numbers)
                self._write(objects, [digest for digest in self._numbers if self._counts(digest, entries)])
            except Exception as error:  # of any kind: claims must be renewed as long as objects are removed
                log.warning("claims on %d artifacts could not be renewed: %s", len(self._numbers), error)

    def _release(self) -> None:
        """Let the next builders in. If the store cannot be reached, the claims expire."""
        self._stop.set()
        self._renewals.join()
        try:
            entries = self._listing(self._objects, self._numbers)
            released = [digest for digest in self._numbers if self._counts(digest, entries)]
            self._write(self._objects, released, RELEASED)
            earlier = [entry.key for digest in released for entry in entries[digest[:32]][:-1]]
            self._objects.delete(earlier)
        except ArtifactError as error:
            log.warning("claims on %d artifacts expire in %.0f s: %s", len(self._numbers), LEASE_SECONDS, error)


def remove_all(store: RemoteStore, artifacts: Sequence[Artifact]) -> None:
    """Remove artifacts, here and at the URL. After that, raises BeingBuilt with the names of those being built."""
    refused = {}
    in_order = sorted(artifacts, key=lambda artifact: artifact.record.identity)
    for start in range(0, len(artifacts), BATCH):
        refused.update(_remove_batch(store, in_order[start : start + BATCH]))
    if refused:
        builds = ", ".join(f"{name} is being built by {holder}" for name, holder in sorted(refused.items()))
        raise BeingBuilt(f"{builds}; run again later")


def _remove_batch(store: RemoteStore, artifacts: Sequence[Artifact]) -> dict[str, str]:
    """Remove artifacts but for those that are being built. Returns who builds these, by key and short identity."""
    by_digest = {artifact.record.identity: artifact for artifact in artifacts}
    holder, since = build_holder(None)
    refused: dict[str, str] = {}

    def refuse(holder: str) -> None:
        raise InterruptedError(holder)

    with contextlib.ExitStack() as locks:
        claims = {}
        for digest, artifact in by_digest.items():
            key = artifact.record.key
            try:
                locks.enter_context(Store._lock(store, digest, key, refuse, None))
            except InterruptedError as error:
                refused[digest] = str(error)
                continue
            claims[digest] = new_claim(holder, key, since, store.machine())
        with Claims.acquire(store.objects, claims) as held:
            refused.update(held.refused)
            _remove_claimed(store, [by_digest[digest] for digest in held.identities], held)
    return {f"{by_digest[digest].record.key} {digest[:SHORT_ID_DIGITS]}": name for digest, name in refused.items()}


def _remove_claimed(store: RemoteStore, artifacts: Sequence[Artifact], held: Claims) -> None:
    """As `RemoteStore.delete`: announcements, records, tasks of builders, files, and announcements at last."""
    by_place = {store.place_of(artifact): artifact.record for artifact in artifacts}
    concurrently(
        lambda place: announce(store.objects, by_place[place].identity, by_place[place].key, place), by_place, _REQUESTS
    )
    held.delete([record_key(place) for place in by_place])
    store.forget_listing(RECORDS)
    announcements = {f"{STAGING}/{place}/{ANNOUNCED}" for place in by_place}
    staged = [item.key for item in store.objects.list(STAGING)]
    of_artifacts = [key for key in staged if "/".join(key.split("/")[1:4]) in by_place]
    held.delete([key for key in of_artifacts if key not in announcements])
    files = concurrently(store.objects.list, by_place, _REQUESTS)
    held.delete([item.key for items in files for item in items])
    held.delete(sorted(announcements))
    short_ids = sorted({artifact.record.short_id for artifact in artifacts})
    checks = store.objects.list(CHECKS, (short_ids[0], short_ids[-1])) if short_ids else []
    held.delete([item.key for item in checks if item.key.split("/")[1] in short_ids])
    with clear_disk_errors(store.root):
        for artifact in artifacts:
            shutil.rmtree(artifact.folder, ignore_errors=True)
            Store.forget_checks(store, artifact.record.short_id)
