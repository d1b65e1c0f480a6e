"""What killed processes have left at a store's URL, for garbage collection."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .identity import artifact_key
from .lease import LOCKS, is_live, last_claim
from .objects import ObjectInfo, ObjectStore
from .remote_place import unused_files
from .remote_staging import ANNOUNCED, STAGING
from .store import NO_PARTITION, Store

if TYPE_CHECKING:
    from .remote import RemoteStore


@dataclass(frozen=True)
class Upload:
    """What an interrupted build left at the URL. place: ``<asset>/<partition>/<short identity>``."""

    place: str
    digest: str
    key: str
    bytes: int


def interrupted_uploads(store: RemoteStore, days: float) -> list[Upload]:
    """What interrupted builds left, if it has not changed for `days` and no builder is working on it.

    The claim of a process that has died on this machine is known to be dead by its lock.
    """
    uploads: list[Upload] = []
    objects = store.objects
    locked_here = {build.lock.name for build in Store.builds_in_progress(store) if build.lock is not None}
    by_place: dict[str, list[ObjectInfo]] = defaultdict(list)
    for item in objects.list(STAGING):
        by_place["/".join(item.key.split("/")[1:4])].append(item)
    for place, items in by_place.items():
        age = (objects.now() - max(item.modified for item in items)).total_seconds()
        # The store's clock is estimated up to a second early, so an age may be negative; 0 days takes everything.
        if days > 0 and age < days * 86_400:
            continue
        asset, partition, _ = place.split("/")
        digest, key = digest_at(objects, place), artifact_key(asset, None if partition == NO_PARTITION else partition)
        claim = last_claim(objects, digest)
        is_dead_here = claim is not None and claim[2].machine == store.machine() and digest[:32] not in locked_here
        if claim is None or is_dead_here or not is_live(objects, *claim[1:]):
            unused = [*items, *unused_files(objects, place, store.artifact_at(place))]
            uploads.append(Upload(place, digest, key, sum(item.bytes for item in unused)))
    return uploads


def remove_upload(store: RemoteStore, upload: Upload) -> None:
    """Remove what an interrupted build left. Raises ArtifactError if the artifact is being built again."""
    with store.lock_to_remove(upload.digest, upload.key, upload.place) as claimed:
        claimed.clear_staging(keep_announcement=True)  # markers before the files that they name
        claimed.remove_unused_files(store.artifact_at(upload.place))
        claimed.clear_staging()


def digest_at(objects: ObjectStore, place: str) -> str:
    """The identity of what is built at a place, as it is announced there; else its digits that claims have.

    A worker may store a task after its builder has removed the announcement.
    """
    announced = objects.get(f"{STAGING}/{place}/{ANNOUNCED}")
    if announced is not None:
        return str(json.loads(announced)["identity"])
    short_id = place.rsplit("/", 1)[-1]
    claimed = (item.key.split("/")[1] for item in objects.list(LOCKS))
    return next((digest for digest in claimed if digest.startswith(short_id)), short_id)
