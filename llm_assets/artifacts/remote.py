"""A store at a URL (`objects`), with a local folder in which builds run and artifacts are read.

Layout below the URL::

    .records/<asset>/<partition or _>/<short identity>.json         the record; an artifact exists if its record does
    <asset>/<partition or _>/<short identity>/files/<digest>/<name> its data, under digests: a name has one content
    .staging/<asset>/<partition or _>/<short identity>/…            an upload in progress, and tasks of workers
    .locks/<32 hex digits of the identity>/<number>                 who builds it (`lease`)
    .recipes/…  .checks/…                                           as in a local store
    .index/…                                                        copies of many records (`object_index`)
    .conversion                                                     a store of version 0.1 is converted (`old_layout`)

Publishing uploads the data, then decides by the lease, then writes the record. Two machines that build the same
artifact never mix their files, because a record names its files by their digests. Listing reads records alone; files
are downloaded when they are read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from . import remote_leftovers
from .artifact import Artifact, build_order
from .build_lock import Build, build_holder
from .errors import ArtifactError, BeingBuilt, CorruptArtifact, clear_disk_errors
from .identity import SHORT_ID_DIGITS, Identity
from .lease import Lease, live_claims, new_claim
from .object_index import LISTING_SECONDS, ObjectIndex
from .objects import ObjectStore
from .old_layout import convert
from .record import Record, write_atomic
from .remote_files import (
    RECORDS,
    RemoteFiles,
    StoredRecord,
    check_files,
    new_record_object,
    record_key,
    upload_files,
)
from .remote_leftovers import Upload, digest_at
from .remote_place import ClaimedPlace, announce
from .remote_removal import remove_all
from .remote_staging import STAGING, RemoteStaging
from .store import CHECKS, NO_PARTITION, RECIPES, Store

log = logging.getLogger(__name__)

_MACHINE = ".machine"  # names this cache folder in claims
_CONVERTED = ".converted"


class RemoteStore(Store):
    """A store at `url`. Builds and reads go through the local folder `cache`."""

    def __init__(self, url: str, cache: Path | str):
        super().__init__(cache)
        self.url = url.rstrip("/")
        self.objects = ObjectStore(self.url)
        self._index = ObjectIndex(self.objects, self.root)
        self._stored: dict[str, tuple[bytes, StoredRecord]] = {}  # by place, with the bytes that it was read from
        self._leases: dict[tuple[str, int], Lease] = {}  # held by this store, by identity and thread
        self._is_converted = False
        self._written_notes: dict[str, tuple[float, bytes]] = {}  # with the time, in monotonic seconds

    def lookup(self, identity: Identity) -> Artifact | None:
        """As in a local store; only the record is read, and the files that are there are checked."""
        artifact = self.artifact_at(self._place(identity))
        if artifact is None:
            return None
        if artifact.record.identity != identity.digest:
            raise CorruptArtifact(
                f"{self.url}/{self._place(identity)}: holds identity {artifact.record.identity}, not {identity.digest}"
            )
        self.check_sizes(artifact)
        return artifact

    def artifacts(self, asset: str | None = None, partition: str | None = None) -> Iterator[Artifact]:
        """Every artifact at the URL, in the order of a local store. Nothing but records is read."""
        self._convert_old_layout()
        below = f"{RECORDS}/{asset}/" if asset else f"{RECORDS}/"
        groups: dict[tuple[str, str], list[Artifact]] = {}
        for key, data in self._index.contents(RECORDS, below).items():
            place = key.removeprefix(f"{RECORDS}/").removesuffix(".json")
            asset_name, partition_name, _ = place.split("/")
            if partition is None or partition_name == partition:
                groups.setdefault((asset_name, partition_name), []).append(self._artifact(place, data))
        for _, artifacts in sorted(groups.items()):
            yield from sorted(artifacts, key=build_order)

    def latest(self, asset: str, partition: str | None) -> Artifact | None:
        """As in a local store; on a machine that has never used the artifact, the newest one."""
        short = self.latest_id(asset, partition)
        stored = list(self.artifacts(asset, partition or NO_PARTITION))
        return next((artifact for artifact in stored if artifact.folder.name == short), stored[-1] if stored else None)

    def builds_in_progress(self) -> list[Build]:
        """Builds of this machine, and those that other machines have claimed."""
        others = [claim for claim in live_claims(self.objects) if claim.machine != self.machine()]
        claimed = [Build(claim.key, claim.holder, claim.since, None) for claim in others]
        return super().builds_in_progress() + claimed

    @contextlib.contextmanager
    def _lock(self, digest: str, key: str, on_wait: Callable[[str], None] | None, run_id: str | None) -> Iterator[None]:
        with self._claim(digest, key, on_wait, run_id) as lease:
            if lease.decided is not None:  # the last builder died after it had decided to publish
                decided, lease.decided = Record.model_validate(lease.decided), None
                # A record that is there may be newer: a takedown may have changed the artifact since.
                if self.artifact_at(self._place_in_url(decided.short_id, decided.key)) is None:
                    self._write_record(decided)
            yield

    @contextlib.contextmanager
    def _claim(
        self, digest: str, key: str, on_wait: Callable[[str], None] | None, run_id: str | None
    ) -> Iterator[Lease]:
        """The lock of this machine, then the claim at the URL."""
        held = (digest, threading.get_ident())
        if held in self._leases:  # a builder that first deletes what it builds
            yield self._leases[held]
            return
        with super()._lock(digest, key, on_wait, run_id):
            holder, since = build_holder(run_id)
            claim = new_claim(holder, key, since, self.machine())
            lease = self._leases[held] = Lease.acquire(self.objects, digest, claim, on_wait)
            try:
                self._index.forget_listing(RECORDS)
                yield lease
            finally:
                del self._leases[held]
                lease.release()

    def publish(self, identity: Identity, staging: Path, record: Record) -> Artifact:
        """Upload the data, then the record, unless another builder has taken over; then publish in the cache.

        Raises LeaseLost, StoreUnwritable, StoreUnreachable. Nothing is visible then, and the files that were uploaded
        are not uploaded again.
        """
        self._publish_at_url(self._lease(identity), record, staging)
        final = self.folder(identity)
        if final.exists():
            shutil.rmtree(final)  # a copy of an artifact that was removed at the URL
        return super().publish(identity, staging, record)

    def upload(self, artifact: Artifact) -> bool:
        """Publish an artifact of a local store here; False if it is here already.

        Raises CorruptArtifact if a file is not that of its record, ArtifactError if other files are here for the same
        identity, and as `publish`.
        """
        record = artifact.record
        check_files(artifact.folder, record.files)
        with self._claim(record.identity, record.key, None, None) as lease:
            stored = self.artifact_at(self._place_in_url(record.short_id, record.key))
            if stored is not None:
                if not record.has_files_of(stored.record):
                    raise ArtifactError(f"{self.url} has other files for {record.key} {record.short_id}")
                return False
            self._publish_at_url(lease, record, artifact.folder)
        return True

    def remote_staging(self, identity: Identity) -> RemoteStaging:
        """Where workers without this machine's disk store the tasks of a build; the caller holds its lock.

        Tasks that an interrupted build finished there are taken over. What a builder that was taken over stores later
        is not seen.
        """
        lease, place = self._lease(identity), self._place(identity)
        announcement = announce(self.objects, identity.digest, identity.key, place)
        staging = RemoteStaging(self.url, place, lease.token, announcement)
        ClaimedPlace(self.objects, lease, place).delete(staging.take_over())
        return staging

    def require_lock(self, identity: Identity) -> None:
        self._lease(identity).require_not_known_lost()

    def replace(self, before: Artifact, now: Artifact) -> Artifact:
        """Upload an artifact that was changed in place, and remove what it held before. Safe to repeat.

        Raises ArtifactError if it is being built.
        """
        place = self.place_of(now)
        with self.lock_to_remove(now.record.identity, now.record.key, place) as claimed:
            upload_files(self.objects, place, now.folder, now.record.files)
            self._write_record(now.record)
            changed = self._artifact(place, new_record_object(now.record)[1])
            claimed.remove_unused_files(changed)
        if before.folder != now.folder:
            with self.lock_to_remove(before.record.identity, before.record.key, self.place_of(before)) as claimed:
                claimed.remove(before.record.key)
        super().replace(before, now)
        return changed

    def delete(self, artifact: Artifact) -> None:
        """Remove an artifact, here and at the URL. Raises ArtifactError if it is being built."""
        record = artifact.record
        with self.lock_to_remove(record.identity, record.key, self.place_of(artifact)) as claimed:
            claimed.remove(record.key)
            with clear_disk_errors(self.root):
                shutil.rmtree(artifact.folder, ignore_errors=True)
            self.forget_checks(record.short_id)

    def delete_all(self, artifacts: Sequence[Artifact]) -> None:
        """Remove many artifacts in batches. Raises ArtifactError for those that are being built, after all others."""
        remove_all(self, artifacts)

    def forget_listing(self, folder: str) -> None:
        """List a folder of the URL again at the next question."""
        self._index.forget_listing(folder)

    def remove_leftovers(self, short_id: str, key: str) -> None:
        """As in a local store, also at the URL. Raises ArtifactError if the artifact is being built."""
        place = self._place_in_url(short_id, key)
        self._index.forget_listing(RECORDS)
        if self.artifact_at(place) is not None:
            return
        if self.objects.list(f"{STAGING}/{place}") or self.objects.list(place):
            with self.lock_to_remove(digest_at(self.objects, place), key, place) as claimed:
                claimed.remove(key)
        with clear_disk_errors(self.root):
            shutil.rmtree(self._folder_of(short_id, key), ignore_errors=True)
        self.forget_checks(short_id)

    def interrupted_uploads(self, days: float) -> list[Upload]:
        return remote_leftovers.interrupted_uploads(self, days)

    def remove_upload(self, upload: Upload) -> None:
        remote_leftovers.remove_upload(self, upload)

    def read_check(self, name: str) -> bytes | None:
        result = super().read_check(name)
        if result is None and (result := self.objects.get(f"{CHECKS}/{name}")) is not None:
            super().write_check(name, result)
        return result

    def write_check(self, name: str, result: bytes) -> None:
        super().write_check(name, result)
        self.objects.put(f"{CHECKS}/{name}", result)

    def forget_checks(self, short_id: str) -> None:
        self.objects.delete(item.key for item in self.objects.list(f"{CHECKS}/{short_id}"))
        super().forget_checks(short_id)

    def forget_recipe(self, recipe: str) -> None:
        self.objects.delete(item.key for item in self.objects.list(f"{RECIPES}/{recipe}"))
        self._index.forget_listing(RECIPES)
        super().forget_recipe(recipe)

    def write_recipe_note(self, name: str, note: bytes) -> None:
        """Write a note about a recipe, at the URL too: garbage collection on every machine respects it."""
        self.objects.put(name, note)
        self._written_notes[name] = (time.monotonic(), note)
        super().write_recipe_note(name, note)

    def _has_note(self, name: str, note: bytes) -> bool:
        """Whether the URL has the note; the local copy stays when another machine forgets the recipe."""
        written_at, written = self._written_notes.get(name, (0.0, b""))
        if written == note and time.monotonic() - written_at < LISTING_SECONDS:  # the listing may be older
            return True
        return self._index.contents(RECIPES, name).get(name) == note

    def recipe_notes(self) -> dict[str, str]:
        self._index.forget_listing(RECIPES)  # other machines write notes too
        return {key: note.decode() for key, note in self._index.contents(RECIPES).items()}

    def recipe_labels(self) -> list[str]:
        self._index.forget_listing(RECIPES)  # other machines write notes too
        return sorted({key.split("/")[1] for key in self._index.etags(RECIPES)})

    def notes_of(self, recipe: str, asset: str) -> dict[str, str]:
        notes = self._index.contents(RECIPES, f"{RECIPES}/{recipe}/{asset}/")
        return {key.rpartition("/")[2]: note.decode() for key, note in notes.items()}

    def _place(self, identity: Identity) -> str:
        return f"{identity.asset}/{identity.partition or NO_PARTITION}/{identity.short_id}"

    def _lease(self, identity: Identity) -> Lease:
        """The lease that this thread holds. Raises ArtifactError if it holds none."""
        lease = self._leases.get((identity.digest, threading.get_ident()))
        if lease is None:
            raise ArtifactError(f"{identity.key}: published without its lock")
        return lease

    @contextlib.contextmanager
    def lock_to_remove(self, digest: str, key: str, place: str) -> Iterator[ClaimedPlace]:
        """The lock of an artifact that is removed or changed. Raises ArtifactError if it is being built.

        What its last builder had decided to publish does not appear any more.
        """

        def refuse(holder: str) -> None:
            raise BeingBuilt(f"{key} {digest[:SHORT_ID_DIGITS]} is being built by {holder}; run again later")

        with self._claim(digest, key, refuse, None) as lease:
            try:
                yield ClaimedPlace(self.objects, lease, place)
            finally:
                self._index.forget_listing(RECORDS)

    def _place_in_url(self, short_id: str, key: str) -> str:
        return self._folder_of(short_id, key).relative_to(self.root).as_posix()

    def place_of(self, artifact: Artifact) -> str:
        """``<asset>/<partition or _>/<short identity>``, below the URL and below the local folder."""
        return artifact.folder.relative_to(self.root).as_posix()

    def machine(self) -> str:
        """A name of this cache folder that no other has; two processes that share it exclude each other by flock."""
        file = self.root / _MACHINE
        if not file.exists():
            name = secrets.token_hex(8)
            with clear_disk_errors(self.root), contextlib.suppress(FileExistsError):
                write_atomic(self.root / f".{name}", name.encode())
                os.link(self.root / f".{name}", file)  # of two processes, one names the folder
            (self.root / f".{name}").unlink()
        return f"{os.uname().nodename}:{file.read_text()}"

    def artifact_at(self, place: str) -> Artifact | None:
        """The artifact at a place; None if there is no record of one."""
        self._convert_old_layout()
        key = record_key(place)
        data = self._index.contents(RECORDS, key).get(key)
        return self._artifact(place, data) if data is not None else None

    def _artifact(self, place: str, data: bytes) -> Artifact:
        parsed = self._stored.get(place)
        if parsed is None or parsed[0] != data:
            try:
                parsed = self._stored[place] = (data, StoredRecord.model_validate_json(data))
            except ValueError as error:
                where = f"{self.url}/{record_key(place)}"
                raise CorruptArtifact(f"{where}: not a readable record ({error}); remove it to rebuild") from error
        _, stored = parsed
        return Artifact(self.root / place, stored.record, RemoteFiles(self, place, stored))

    def check_sizes(self, artifact: Artifact) -> None:
        """As in a local store, for the files that are here."""
        assert artifact.remote is not None
        artifact.remote.forget_outdated()
        here = {
            name: entry
            for name, entry in artifact.record.files.items()
            if entry.location is None and (artifact.folder / name).exists()
        }
        super().check_sizes(Artifact(artifact.folder, artifact.record.model_copy(update={"files": here})))

    def _publish_at_url(self, lease: Lease, record: Record, folder: Path) -> None:
        """Upload an artifact's files from a folder, then its record, unless another builder has taken over."""
        place = self._place_in_url(record.short_id, record.key)
        announce(self.objects, lease.digest, record.key, place)
        upload_files(self.objects, place, folder, record.files)
        # Again what has vanished: a deletion that was taken over while it was suspended may have removed files since.
        upload_files(self.objects, place, folder, record.files)
        lease.publish(record.model_dump(mode="json"))
        self._write_record(record)
        try:
            claimed = ClaimedPlace(self.objects, lease, place)
            claimed.remove_unused_files(self._artifact(place, new_record_object(record)[1]))
            claimed.clear_staging()
        except ArtifactError as error:  # the artifact is published; its announcement leads garbage collection here
            log.warning("%s: published; what its builders left at the URL was not removed: %s", record.key, error)

    def _write_record(self, record: Record) -> None:
        self.objects.put(*new_record_object(record))
        self._index.forget_listing(RECORDS)

    def _convert_old_layout(self) -> None:
        """Convert a store of version 0.1; a local file remembers that it need not be looked for."""
        remembered = self.root / _CONVERTED
        if self._is_converted or (remembered.exists() and remembered.read_text() == self.url):
            return
        if convert(self.objects, has_records=bool(self._index.etags(RECORDS))):
            self._index.forget_listing(RECORDS)
        with clear_disk_errors(self.root):
            write_atomic(remembered, self.url.encode())
        self._is_converted = True


def open_store(url: str | Path, cache: Path | None = None) -> Store:
    """Open the store at a folder or URL. A remote store keeps its local copies in `cache`."""
    text = str(url)
    if "://" not in text:
        return Store(text)
    if text.startswith("file://"):
        return Store(text.removeprefix("file://"))
    return RemoteStore(text, cache or Path.home() / ".cache" / "llm-assets")
