"""Artifacts that are shown and served although the recipe would build others by now."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from functools import cached_property

from .artifact import Artifact, build_order
from .errors import RESOLUTION_ERRORS, CorruptArtifact, LeftOut, NotBuilt
from .explain import explain
from .materialize import Workspace
from .store import NO_PARTITION


class LastBuilt:
    """The artifacts of a recipe as they are, or else as they were built last.

    A change of the recipe or a new vote must not take away a model, a table or a report until it has been built again.
    An artifact counts only if a recipe of this one's name has used it: that of another recipe in the same store must
    not take its place. The notes of the store about an asset are read once, when one of its artifacts is stale.
    """

    def __init__(self, workspace: Workspace):
        self.workspace, self.resolver = workspace, workspace.resolver()
        self._used: dict[str, dict[str, set[str]]] = {}  # by asset and partition

    def current_or_last(self, asset: str, partition: str | None = None) -> tuple[Artifact, bool]:
        """The artifact of an asset under the recipe, or else the one that was built last, and whether it is that.

        Raises as `Resolver.artifact` does if the store has none (NotBuilt, also where a file that the recipe names is
        missing), if the recipe leaves the asset out, and if the recipe's own artifact is damaged.
        """
        try:
            return self.resolver.artifact(asset, partition), False
        except (LeftOut, CorruptArtifact):
            raise
        except RESOLUTION_ERRORS as error:
            artifact = self.last(asset, partition)
            if artifact is not None:
                return artifact, True
            if isinstance(error, ValueError):  # of a stage, about a file
                raise NotBuilt(f"{asset} is not built, and cannot be: {error}") from error
            raise

    def last(self, asset: str, partition: str | None = None) -> Artifact | None:
        """The artifact that was built last, of those that are whole."""
        if asset not in self._used:
            self._used[asset] = self._used_artifacts(asset)
        place = f"{asset}/{partition or NO_PARTITION}"
        identities = self._used[asset].get(partition or NO_PARTITION, ())
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
        """Short identities, by partition, of the artifacts that recipes of this one's name have used."""
        used: dict[str, set[str]] = defaultdict(set)
        for label in self._labels:
            for partition, note in self.workspace.store.notes_of(label, asset).items():
                used[partition].add(note.strip().partition(" ")[0])
        return used

    def why_stale(self, asset: str, partition: str | None = None) -> str:
        """A sentence that says that the artifact is not the recipe's, and why, for those who see it."""
        (explanation,) = explain(self.workspace, [(asset, partition)], self.resolver)
        return explanation.why_stale()


def current_or_last_built(workspace: Workspace, asset: str, partition: str | None = None) -> tuple[Artifact, bool]:
    """See `LastBuilt.current_or_last`."""
    return LastBuilt(workspace).current_or_last(asset, partition)
