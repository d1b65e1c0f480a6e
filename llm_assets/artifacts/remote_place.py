"""Where an artifact is at a store's URL, and the removal of its objects there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from .artifact import Artifact
from .lease import Lease
from .objects import ObjectInfo, ObjectStore
from .remote_files import RemoteFiles, record_key
from .remote_staging import ANNOUNCED, STAGING


def announce(objects: ObjectStore, digest: str, key: str, place: str) -> bytes:
    """Note that objects of an artifact are written or removed, so that garbage collection finds what a killed process
    leaves. Returns the note.
    """
    note = json.dumps({"identity": digest, "key": key}, sort_keys=True).encode()
    objects.put(f"{STAGING}/{place}/{ANNOUNCED}", note)
    return note


def unused_files(objects: ObjectStore, place: str, artifact: Artifact | None) -> list[ObjectInfo]:
    """Files in the place of an artifact at the URL that its record, if it has one, does not name."""
    named = artifact.remote.keys() if artifact is not None and isinstance(artifact.remote, RemoteFiles) else set()
    return [item for item in objects.list(place) if item.key not in named]


@dataclass(frozen=True)
class ClaimedPlace:
    """The place of an artifact whose lease this process holds. Every method raises LeaseLost if it is lost.

    place: ``<asset>/<partition or _>/<short identity>``.
    """

    objects: ObjectStore
    lease: Lease
    place: str

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, unless another builder has taken over: they are its objects then."""
        self.objects.delete(keys, self.lease.require)

    def remove(self, key: str) -> None:
        """Remove an artifact. The record goes first: files without it are no artifact, but garbage.

        Markers of tasks go before the files that they name. key: of the artifact.
        """
        announce(self.objects, self.lease.digest, key, self.place)
        self.delete([record_key(self.place)])
        self.clear_staging(keep_announcement=True)
        self.delete([item.key for item in self.objects.list(self.place)])
        self.clear_staging()

    def clear_staging(self, keep_announcement: bool = False) -> None:
        """Remove what is in the staging folder, last the announcement, by which garbage collection finds it."""
        announcement = f"{STAGING}/{self.place}/{ANNOUNCED}"
        keys = [item.key for item in self.objects.list(f"{STAGING}/{self.place}")]
        self.delete([key for key in keys if key != announcement])
        if not keep_announcement:
            self.delete([announcement])

    def remove_unused_files(self, artifact: Artifact | None) -> None:
        """Remove the files that the record of the artifact, if there is one, does not name."""
        self.delete([item.key for item in unused_files(self.objects, self.place, artifact)])
