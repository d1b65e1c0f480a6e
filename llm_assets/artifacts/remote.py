"""A store behind a URL (`objects`), with a local folder in which builds run and artifacts are read.

Layout below the URL::

    .records/<asset>/<partition or _>/<short identity>.json         the record; an artifact exists if its record does
    <asset>/<partition or _>/<short identity>/files/<digest>/<name> its data, under digests: a name has one content
    .staging/<asset>/<partition or _>/<short identity>/…            an upload in progress, and tasks of workers
    .locks/<32 hex digits of the identity>/<number>                 who builds it (`lease`)
    .recipes/<name>@<digest>/<asset>/<partition>                    as in a local store
    .index/…                                                        copies of many records (`object_index`)

Publishing uploads the data, then decides by the lease, then writes the record. Two machines that build the same
artifact never mix their files, because a record names its files by their digests. Listing reads records alone; files
are downloaded when they are read.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ArtifactError, CorruptArtifact
from .identity import Identity
from .lease import LOCKS, Lease, is_live, last_claim, new_claim
from .object_index import ObjectIndex
from .objects import ObjectInfo, ObjectStore, RangeFile
from .record import RECORD, FileEntry, Record, file_digest, write_atomic
from .remote_staging import STAGING, RemoteStaging, file_key, upload_files
from .store import NO_PARTITION, RECIPES, Artifact, Build, Store, build_holder, build_order, clear_disk_errors

RECORDS = ".records"
THREADS = 8  # files that are transferred at a time
_DELETIONS = 16  # artifacts that are removed at a time
_MACHINE = ".machine"  # names this cache folder in claims
_RANGE_BUFFER = 1 << 20


@dataclass(frozen=True)
class Upload:
    """What an interrupted build left at the URL. place: ``<asset>/<partition>/<short identity>``."""

    place: str
    digest: str
    key: str
    bytes: int


class RemoteStore(Store):
    """A store at `url`. Builds and reads go through the local folder `cache`."""

    def __init__(self, url: str, cache: Path | str):
        super().__init__(cache)
        self.url = url.rstrip("/")
        self.objects = ObjectStore(self.url)
        self._index = ObjectIndex(self.objects, self.root)
        self._records: dict[str, tuple[bytes, dict[str, Any], Record]] = {}
        self._leases: dict[str, Lease] = {}  # held by this store, by identity

    def lookup(self, identity: Identity) -> Artifact | None:
        """As in a local store; only the record is read, and the files that are there are checked."""
        artifact = self._artifact_at(self._place(identity))
        if artifact is None:
            return None
        if artifact.record.identity != identity.digest:
            raise CorruptArtifact(
                f"{self.url}/{self._place(identity)}: holds identity {artifact.record.identity}, not {identity.digest}"
            )
        self._check_sizes(artifact)
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
        pointer = self.root / ".latest" / asset / (partition or NO_PARTITION)
        short = pointer.read_text().strip() if pointer.exists() else ""
        stored = list(self.artifacts(asset, partition or NO_PARTITION))
        return next((artifact for artifact in stored if artifact.folder.name == short), stored[-1] if stored else None)

    def location(self, artifact: Artifact) -> str:
        return f"{self.url}/{self._place_of(artifact)}"

    def builds_in_progress(self) -> list[Build]:
        """Builds of this machine, and those that other machines have claimed."""
        last: dict[str, ObjectInfo] = {}
        for entry in self.objects.list(LOCKS):
            last[entry.key.split("/")[1]] = entry
        now = self.objects.now() if last else None
        builds = super().builds_in_progress()
        for digest, entry in last.items():
            if now is None or (now - entry.modified).total_seconds() > 3600:
                continue  # not worth a read: no claim lives that long without being renewed
            claim = last_claim(self.objects, digest)
            if claim is not None and claim[2].machine != self._machine() and is_live(self.objects, *claim[1:]):
                builds.append(Build(claim[2].key, claim[2].holder, claim[2].since, None))
        return builds

    @contextlib.contextmanager
    def _lock(self, digest: str, key: str, on_wait: Callable[[str], None] | None, run_id: str | None) -> Iterator[None]:
        """The lock of this machine, then the claim at the URL."""
        if digest in self._leases:
            yield
            return
        with super()._lock(digest, key, on_wait, run_id):
            holder, since = build_holder(run_id)
            claim = new_claim(holder, key, since, self._machine())
            lease = self._leases[digest] = Lease.acquire(self.objects, digest, claim, on_wait)
            try:
                self._index.forget_listings()
                if lease.envelope is not None:  # the last builder died before it had written the record
                    self._write_record(Record.model_validate(lease.envelope["record"]))
                yield
            finally:
                del self._leases[digest]
                lease.release()

    def publish(self, identity: Identity, staging: Path, record: Record) -> Artifact:
        """Upload the data, then the record, unless another builder has taken over; then publish in the cache.

        Raises LeaseLost, StoreUnwritable, StoreUnreachable. Nothing is visible then, and the files that were uploaded
        are not uploaded again.
        """
        lease, place = self._leases.get(identity.digest), self._place(identity)
        if lease is None:
            raise ArtifactError(f"{identity.key}: published without its lock")
        self._announce(identity.digest, identity.key, place)
        upload_files(self.objects, place, staging, record.files)
        lease.publish(_envelope(record))
        self._write_record(record)
        self.objects.delete(item.key for item in self.objects.list(f"{STAGING}/{place}"))
        final = self.folder(identity)
        if final.exists():
            shutil.rmtree(final)  # a copy of an artifact that was removed at the URL
        return super().publish(identity, staging, record)

    def remote_staging(self, identity: Identity) -> RemoteStaging:
        """Where workers without this machine's disk store the tasks of a build; the caller holds its lock.

        Tasks that an interrupted build finished there are taken over. What a builder that was taken over stores later
        is not seen.
        """
        place = self._place(identity)
        self._announce(identity.digest, identity.key, place)
        staging = RemoteStaging(self.url, place, self._leases[identity.digest].token)
        staging.take_over()
        return staging

    def replace(self, before: Artifact, now: Artifact) -> Artifact:
        """Upload an artifact that was changed in place, and remove what it held before. Safe to repeat."""
        place = self._place_of(now)
        upload_files(self.objects, place, now.folder, now.record.files)
        self._write_record(now.record)
        self._remove_unused_files(place, now.record)
        if before.folder != now.folder:
            self._remove(self._place_of(before))
        super().replace(before, now)
        return self._artifact(place, _dump(now.record))

    def delete(self, artifact: Artifact) -> None:
        """Remove an artifact, here and at the URL. Raises ArtifactError if it is being built."""
        record = artifact.record

        def refuse(holder: str) -> None:
            raise ArtifactError(f"{record.key} {record.short_id} is being built by {holder}; delete it later")

        with self._lock(record.identity, record.key, refuse, None):
            self._remove(self._place_of(artifact))
            with clear_disk_errors(self.root):
                shutil.rmtree(artifact.folder, ignore_errors=True)
                shutil.rmtree(self.root / ".checks" / record.short_id, ignore_errors=True)

    def delete_all(self, artifacts: Sequence[Artifact]) -> None:
        with ThreadPoolExecutor(_DELETIONS) as pool:
            list(pool.map(self.delete, artifacts))

    def interrupted_uploads(self, days: float) -> list[Upload]:
        """What interrupted builds left at the URL, if it has not changed for `days` and nobody is at work on it."""
        uploads = []
        by_place: dict[str, list[ObjectInfo]] = {}
        for item in self.objects.list(STAGING):
            by_place.setdefault("/".join(item.key.split("/")[1:4]), []).append(item)
        for place, items in by_place.items():
            age = (self.objects.now() - max(item.modified for item in items)).total_seconds()
            announced = self.objects.get(f"{STAGING}/{place}/{_ANNOUNCED}")
            if age < days * 86_400 or announced is None:
                continue
            digest, key = json.loads(announced)["identity"], json.loads(announced)["key"]
            claim = last_claim(self.objects, digest)
            if claim is None or not is_live(self.objects, *claim[1:]):
                unused = [*items, *self._unused_files(place, self._record_at(place))]
                uploads.append(Upload(place, digest, key, sum(item.bytes for item in unused)))
        return uploads

    def remove_upload(self, upload: Upload) -> None:
        """Remove what an interrupted build left, unless the artifact is built again just now."""

        def refuse(holder: str) -> None:
            raise ArtifactError(f"{upload.key} is being built by {holder}; collect garbage later")

        with self._lock(upload.digest, upload.key, refuse, None):
            staged = [item.key for item in self.objects.list(f"{STAGING}/{upload.place}")]
            announcement = f"{STAGING}/{upload.place}/{_ANNOUNCED}"
            # Markers before the files that they name, and the announcement last: a kill in between leaves garbage that
            # the next collection finds.
            self.objects.delete(key for key in staged if key != announcement)
            self._remove_unused_files(upload.place, self._record_at(upload.place))
            self.objects.delete([announcement])

    def forget_recipe(self, recipe: str) -> None:
        self.objects.delete(item.key for item in self.objects.list(f"{RECIPES}/{recipe}"))
        self._index.forget_listings()
        super().forget_recipe(recipe)

    def _note(self, name: str, note: bytes) -> None:
        """Write a note about a recipe, at the URL too: garbage collection on every machine respects it."""
        self.objects.put(name, note)
        super()._note(name, note)

    def _notes(self) -> dict[str, str]:
        self._index.forget_listings()  # other machines write notes too
        return {key: note.decode() for key, note in self._index.contents(RECIPES).items()}

    def _place(self, identity: Identity) -> str:
        return f"{identity.asset}/{identity.partition or NO_PARTITION}/{identity.short_id}"

    def _place_of(self, artifact: Artifact) -> str:
        return artifact.folder.relative_to(self.root).as_posix()

    def _machine(self) -> str:
        """A name of this cache folder that no other has; two processes that share it exclude each other by flock."""
        file = self.root / _MACHINE
        if not file.exists():
            with clear_disk_errors(self.root), contextlib.suppress(FileExistsError):
                self.root.mkdir(parents=True, exist_ok=True)
                with open(file, "x") as stream:
                    stream.write(secrets.token_hex(8))
        return f"{os.uname().nodename}:{file.read_text()}"

    def _artifact_at(self, place: str) -> Artifact | None:
        self._convert_old_layout()
        key = _record_key(place)
        data = self._index.contents(RECORDS, key).get(key)
        return self._artifact(place, data) if data is not None else None

    def _record_at(self, place: str) -> Record | None:
        artifact = self._artifact_at(place)
        return artifact.record if artifact is not None else None

    def _artifact(self, place: str, data: bytes) -> Artifact:
        parsed = self._records.get(place)
        if parsed is None or parsed[0] != data:
            try:
                envelope = json.loads(data)
                record = Record.model_validate(envelope["record"])
            except (ValueError, KeyError, TypeError) as error:
                where = f"{self.url}/{_record_key(place)}"
                raise CorruptArtifact(f"{where}: not a readable record ({error}); remove it to rebuild") from error
            parsed = self._records[place] = (data, envelope, record)
        _, envelope, record = parsed
        folder = self.root / place
        return Artifact(folder, record, RemoteFiles(self, place, record, envelope.get("data", "")))

    def _check_sizes(self, artifact: Artifact) -> None:
        """As in a local store, for the files that are here."""
        assert artifact.remote is not None
        artifact.remote.forget_outdated()
        here = {
            name: entry
            for name, entry in artifact.record.files.items()
            if entry.location is None and (artifact.folder / name).exists()
        }
        super()._check_sizes(Artifact(artifact.folder, artifact.record.model_copy(update={"files": here})))

    def _announce(self, digest: str, key: str, place: str) -> None:
        """Note that an upload begins, so that garbage collection finds what it leaves if it is killed."""
        note = json.dumps({"identity": digest, "key": key}, sort_keys=True).encode()
        self.objects.put(f"{STAGING}/{place}/{_ANNOUNCED}", note)

    def _write_record(self, record: Record) -> None:
        place = f"{record.asset}/{record.partition or NO_PARTITION}/{record.short_id}"
        self.objects.put(_record_key(place), _dump(record))
        self._index.forget_listings()

    def _remove(self, place: str) -> None:
        """Remove an artifact at the URL. The record goes first: files without it are no artifact."""
        self.objects.delete([_record_key(place)])
        self._index.forget_listings()
        self.objects.delete(item.key for folder in (place, f"{STAGING}/{place}") for item in self.objects.list(folder))

    def _unused_files(self, place: str, record: Record | None) -> list[ObjectInfo]:
        """Files of an artifact at the URL that its record does not name."""
        named = {file_key(place, name, entry) for name, entry in record.files.items()} if record else set()
        return [item for item in self.objects.list(place) if item.key not in named]

    def _remove_unused_files(self, place: str, record: Record | None) -> None:
        self.objects.delete(item.key for item in self._unused_files(place, record))

    def _convert_old_layout(self) -> None:
        """Write the records of a store of version 0.1, which has them beside the data, where they are looked for."""
        converted = self.root / _CONVERTED
        if self._index.etags(RECORDS) or (converted.exists() and converted.read_text() == self.url):
            return
        for item in self.objects.list(""):
            parts = item.key.split("/")
            if len(parts) == 4 and parts[3] == RECORD and not parts[0].startswith("."):
                self.objects.put(_record_key("/".join(parts[:3])), self.objects.get(item.key) or b"")
                self._index.forget_listings()
        with clear_disk_errors(self.root):
            write_atomic(converted, self.url.encode())


_ANNOUNCED = "upload.json"
_CONVERTED = ".converted"


class RemoteFiles:
    """The files of one artifact at the URL, and their copies in the local folder."""

    def __init__(self, store: RemoteStore, place: str, record: Record, data: str):
        """data: the folder of the files below the artifact, in a store of version 0.1; now they are under digests."""
        self._objects, self._url, self._place, self._record = store.objects, store.url, place, record
        self._folder, self._read_local, self._data = store.root / place, store._read, data
        self._is_current = False

    def download(self, names: Iterable[str]) -> None:
        """Copy files into the local folder, those that are not there. Raises CorruptArtifact."""
        self.forget_outdated()
        entries = {name: self._record.files[name] for name in names}
        missing = {
            name: entry
            for name, entry in entries.items()
            if entry.location is None and not (self._folder / name).exists()
        }
        if not missing:
            return
        with clear_disk_errors(self._folder):
            if not (self._folder / RECORD).exists():
                write_atomic(self._folder / RECORD, self._record.dump())
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(self._download, missing, missing.values()))

    def open(self, name: str) -> BinaryIO:
        """A file to read, without a local copy: reads become requests for ranges."""
        self.forget_outdated()
        entry, path = self._record.files[name], self._folder / name
        if entry.location is not None or path.exists():
            return open(entry.location or path, "rb")
        return io.BufferedReader(RangeFile(self._objects, self._key(name, entry), entry.bytes), _RANGE_BUFFER)

    def forget_outdated(self) -> None:
        """Remove local copies that are no longer those of the record, which a takedown on another machine changed."""
        local = None if self._is_current else self._read_local(self._folder)
        if local is not None and local.record != self._record:
            with clear_disk_errors(self._folder):
                for name, entry in local.record.files.items():
                    if entry != self._record.files.get(name):
                        (self._folder / name).unlink(missing_ok=True)
                write_atomic(self._folder / RECORD, self._record.dump())
        self._is_current = True

    def _key(self, name: str, entry: FileEntry) -> str:
        return f"{self._place}/{self._data}/{name}" if self._data else file_key(self._place, name, entry)

    def _download(self, name: str, entry: FileEntry) -> None:
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            self._objects.download(self._key(name, entry), entry.bytes, temporary)
            if file_digest(temporary) != entry.sha256:
                raise CorruptArtifact(f"{self._url}/{self._key(name, entry)}: the bytes are not those of its record")
            os.replace(temporary, target)
        except FileNotFoundError as error:
            raise CorruptArtifact(
                f"{self._url}/{self._key(name, entry)}: is missing; delete {self._url}/{_record_key(self._place)} "
                "to rebuild the artifact"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def _record_key(place: str) -> str:
    return f"{RECORDS}/{place}.json"


def _envelope(record: Record) -> dict[str, Any]:
    return {"record": record.model_dump(mode="json")}


def _dump(record: Record) -> bytes:
    return json.dumps(_envelope(record), sort_keys=True).encode()


def open_store(url: str | Path, cache: Path | None = None) -> Store:
    """Open the store at a folder or URL. A remote store keeps its local copies in `cache`."""
    text = str(url)
    if "://" not in text:
        return Store(text)
    if text.startswith("file://"):
        return Store(text.removeprefix("file://"))
    return RemoteStore(text, cache or Path.home() / ".cache" / "llm-assets")
