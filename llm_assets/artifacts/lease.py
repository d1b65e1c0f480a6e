"""The lock of a build at an object store: numbered claims, of which the highest counts.

``.locks/<32 hex digits of the identity>/<number>`` is a claim. A number is written once (``If-None-Match: *``), so that
of two builders one gets it. A builder renews its claim while it lives. If a claim is not renewed for LEASE_SECONDS, by
the store's clock, the next builder writes the next number, and so does a builder that publishes. A builder that lost
its claim therefore cannot publish: its next number is taken. The number is a fencing token. A process that deletes
looks before each deletion whether its claim is still the highest.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from .errors import ArtifactError, LeaseLost
from .objects import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

LOCKS = ".locks"
LEASE_SECONDS = 180.0  # longer than a store that answers 503 for a minute
RENEW_SECONDS = 30.0
POLL_SECONDS = 2.0
BUILDING, PUBLISHED, RELEASED = "building", "published", "released"


@dataclass(frozen=True)
class Claim:
    """A builder's claim. nonce: makes its bytes unlike those of any other.

    holder, key, since: as in `Build`. machine: the cache folder that it builds in. record: what it publishes, from its
    decision to do so until readers see it.
    """

    state: str
    nonce: str
    holder: str
    key: str
    since: str
    machine: str
    record: dict[str, Any] | None = None

    def dump(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def load(cls, data: bytes, where: str) -> Claim:
        """Raises ArtifactError."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{where}: not a readable claim of a builder ({error}); remove it") from error


def new_claim(holder: str, key: str, since: str, machine: str) -> Claim:
    return Claim(BUILDING, secrets.token_hex(8), holder, key, since, machine)


def claims_folder(digest: str) -> str:
    return f"{LOCKS}/{digest[:32]}"


def last_claim(objects: ObjectStore, digest: str) -> tuple[int, ObjectInfo, Claim] | None:
    """The claim that counts, with its number; None if nobody has ever built the artifact here."""
    while entries := objects.list(claims_folder(digest)):
        data = objects.get(entries[-1].key)
        if data is not None:
            return claim_number(entries[-1].key), entries[-1], Claim.load(data, f"{objects.url}/{entries[-1].key}")
    return None


def is_live(objects: ObjectStore, entry: ObjectInfo, claim: Claim) -> bool:
    """Whether a builder is at work: it has claimed the artifact and renewed the claim in time, by the store's clock."""
    return claim.state != RELEASED and is_renewed(objects, entry)


def is_renewed(objects: ObjectStore, entry: ObjectInfo) -> bool:
    """Whether a claim has been written in time, by the store's clock; it may be one that was released since."""
    return (objects.now() - entry.modified).total_seconds() < LEASE_SECONDS


def live_claims(objects: ObjectStore) -> list[Claim]:
    """The claims of all builders at work."""
    last = {entry.key.rsplit("/", 1)[0]: entry for entry in objects.list(LOCKS)}  # sorted: the highest number stays
    renewed = [entry for entry in last.values() if is_renewed(objects, entry)]
    read = [(entry, objects.get(entry.key)) for entry in renewed]
    claims = [Claim.load(data, f"{objects.url}/{entry.key}") for entry, data in read if data is not None]
    return [claim for claim in claims if claim.state != RELEASED]


def claim_number(key: str) -> int:
    return int(key.rsplit("/", 1)[-1])


def claim_key(digest: str, number: int) -> str:
    return f"{claims_folder(digest)}/{number:08}"


def _claim(objects: ObjectStore, digest: str, number: int, claim: Claim) -> bool:
    """Write a claim; returns whether it is the one that counts.

    The number may have been used and dropped since the caller looked. The highest claim is never dropped, so that it
    is listed then.
    """
    if not objects.create(claim_key(digest, number), claim.dump()):
        return False
    if claim_number(objects.list(claims_folder(digest))[-1].key) == number:
        return True
    objects.delete([claim_key(digest, number)])
    return False


class Lease:
    """A claim that this process holds and renews."""

    def __init__(self, objects: ObjectStore, digest: str, number: int, claim: Claim):
        self._objects, self._digest, self._number, self.claim = objects, digest, number, claim
        self.decided: dict[str, Any] | None = None
        self._stop, self._lost = threading.Event(), threading.Event()
        self._renewals = threading.Thread(target=self._renew, daemon=True, name=f"lease of {claim.key}")
        self._renewals.start()

    @classmethod
    def acquire(
        cls, objects: ObjectStore, digest: str, claim: Claim, on_wait: Callable[[str], None] | None = None
    ) -> Lease:
        """Wait for the claim on an artifact and take it.

        A claim made in this machine's cache folder is dead: the caller holds the lock of that folder.
        on_wait: called once, with the current holder, if another builder has it.
        `decided` is the record that the last builder decided to publish, if it died before readers could see it.
        """
        objects.require_conditional_writes()
        waited = False
        while True:
            last = last_claim(objects, digest)
            if last is not None and last[2].machine != claim.machine and is_live(objects, *last[1:]):
                if not waited and on_wait is not None:
                    on_wait(last[2].holder)
                waited = True
                time.sleep(POLL_SECONDS)
                continue
            number = last[0] + 1 if last else 1
            if not _claim(objects, digest, number, claim):
                continue  # another builder was faster
            lease = cls(objects, digest, number, claim)
            lease.decided = last[2].record if last and last[2].state == PUBLISHED else None
            try:
                lease._drop_earlier()
            except BaseException:
                lease._end_renewals()  # nobody holds the claim: it expires
                raise
            return lease

    @property
    def digest(self) -> str:
        """The identity whose artifact is claimed."""
        return self._digest

    @property
    def token(self) -> str:
        """A name that no other builder of this artifact has; those of later builders sort after it."""
        return f"{self._number:08}-{self.claim.nonce}"

    def publish(self, record: dict[str, Any]) -> None:
        """Decide to publish, unless another builder has taken over. Raises LeaseLost."""
        self._end_renewals()
        decision = replace(self.claim, state=PUBLISHED, record=record)
        if not _claim(self._objects, self._digest, self._number + 1, decision):
            raise self._loss()
        self._number += 1

    def require(self) -> None:
        """Ask the store whether this claim still counts. Raises LeaseLost."""
        entries = self._objects.list(claims_folder(self._digest))
        if not entries or claim_number(entries[-1].key) != self._number:
            raise self._loss()

    def require_not_known_lost(self) -> None:
        """Raise LeaseLost if a renewal has found that another builder has taken over. Asks nobody, so it is quick."""
        if self._lost.is_set():
            raise self._loss()

    def release(self) -> None:
        """Let the next builder in. If the store cannot be reached, the claim expires."""
        self._end_renewals()
        try:
            last = last_claim(self._objects, self._digest)
            if last is not None and last[0] == self._number:
                released = replace(self.claim, state=RELEASED, record=None)
                self._objects.put(claim_key(self._digest, self._number), released.dump())
                self._drop_earlier()
        except ArtifactError as error:
            log.warning("%s: the claim of this builder expires in %.0f s: %s", self.claim.key, LEASE_SECONDS, error)

    def _renew(self) -> None:
        """Rewrite the claim from time to time, until another builder has taken over."""
        objects = ObjectStore(self._objects.url, patience=0)  # the next renewal is the next try
        while not self._stop.wait(RENEW_SECONDS):
            try:
                entries = objects.list(claims_folder(self._digest))
                if not entries or claim_number(entries[-1].key) != self._number:
                    log.warning("%s: another builder has taken over", self.claim.key)
                    self._lost.set()
                    return
                objects.put(claim_key(self._digest, self._number), self.claim.dump())
            except Exception as error:  # of any kind: the claim must be renewed as long as the builder is at work
                log.warning("%s: this builder's claim could not be renewed: %s", self.claim.key, error)

    def _end_renewals(self) -> None:
        """Stop rewriting the claim. A renewal under way ends first: it must not overwrite what follows."""
        self._stop.set()
        self._renewals.join()

    def _drop_earlier(self) -> None:
        entries = self._objects.list(claims_folder(self._digest))
        self._objects.delete(entry.key for entry in entries if claim_number(entry.key) < self._number)

    def _loss(self) -> LeaseLost:
        last = last_claim(self._objects, self._digest)
        return LeaseLost(
            f"{self.claim.key}: {last[2].holder if last else 'another builder'} has taken over its build, because this "
            f"process did not reach {self._objects.url} for {LEASE_SECONDS:.0f} s. Nothing was published or removed "
            "since; run again to use theirs"
        )
