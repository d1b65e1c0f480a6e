"""The artifacts that a recipe has used, whatever it asks for now."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from functools import cached_property

from .artifact import Artifact, build_order
from .errors import CorruptArtifact
from .materialize import Workspace
from .store import NO_PARTITION


class UsedArtifacts:
    """Artifacts that recipes of this one's name have used: those of another recipe in the same store do not count.

    The notes of the store about an asset are read once.
    """

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._used: dict[str, dict[str, set[str]]] = {}  # by asset and partition

    def last(self, asset: str, partition: str | None = None) -> Artifact | None:
        """The artifact that was used last, of those that are whole; if another recipe has used its asset since, the one
        that was built last.
        """
        if asset not in self._used:
            self._used[asset] = self._used_artifacts(asset)
        identities = self._used[asset].get(partition or NO_PARTITION)
        if not identities:
            return None
        place, latest = f"{asset}/{partition or NO_PARTITION}", self.workspace.store.latest_id(asset, partition)
        if latest in identities and (artifact := self._whole(f"{place}/{latest}")) is not None:
            return artifact
        stored = [self._whole(f"{place}/{short}") for short in identities]
        return max((artifact for artifact in stored if artifact is not None), key=build_order, default=None)

    def _whole(self, place: str) -> Artifact | None:
        """The artifact at a place of the store, if there is one whose files are all there."""
        with suppress(CorruptArtifact):
            artifact = self.workspace.store.artifact_at(place)
            if artifact is not None:
                self.workspace.store.check_sizes(artifact)
            return artifact
        return None

    @cached_property
    def _labels(self) -> list[str]:
        """The labels of the recipes of this one's name."""
        labels = self.workspace.store.recipe_labels()
        return [label for label in labels if label.rpartition("@")[0] == self.workspace.recipe.name]

    def _used_artifacts(self, asset: str) -> dict[str, set[str]]:
        """Short identities by partition."""
        used: dict[str, set[str]] = defaultdict(set)
        for label in self._labels:
            for partition, note in self.workspace.store.notes_of(label, asset).items():
                used[partition].add(note.strip().partition(" ")[0])
        return used
