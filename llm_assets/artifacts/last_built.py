"""Artifacts that are shown and served although the recipe would build others by now."""

from __future__ import annotations

from .artifact import Artifact
from .errors import RESOLUTION_ERRORS, CorruptArtifact, LeftOut, NotBuilt
from .explain import explain
from .materialize import Workspace
from .used_artifacts import UsedArtifacts


class LastBuilt:
    """The artifacts of a recipe as they are, or else as they were when it used them last.

    A change of the recipe or a new vote must not take away a model, a table or a report until it has been built again.
    """

    def __init__(self, workspace: Workspace):
        self.workspace, self.resolver, self.used = workspace, workspace.resolver(), UsedArtifacts(workspace)

    def current_or_last(self, asset: str, partition: str | None = None) -> tuple[Artifact, bool]:
        """The artifact of an asset under the recipe, or else `UsedArtifacts.last`, and whether it is that.

        Raises as `Resolver.artifact` does if the store has none (NotBuilt, also where a file that the recipe names is
        missing), if the recipe leaves the asset out, and if the recipe's own artifact is damaged.
        """
        try:
            return self.resolver.artifact(asset, partition), False
        except (LeftOut, CorruptArtifact):
            raise
        except RESOLUTION_ERRORS as error:
            artifact = self.used.last(asset, partition)
            if artifact is not None:
                return artifact, True
            if isinstance(error, ValueError):  # of a stage, about a file
                raise NotBuilt(f"{asset} is not built, and cannot be: {error}") from error
            raise

    def why_stale(self, asset: str, partition: str | None = None) -> str:
        """A sentence that says that the artifact is not the recipe's, and why, for those who see it."""
        (explanation,) = explain(self.workspace, [(asset, partition)], self.resolver, self.used)
        return explanation.why_stale()


def current_or_last_built(workspace: Workspace, asset: str, partition: str | None = None) -> tuple[Artifact, bool]:
    """See `LastBuilt.current_or_last`."""
    return LastBuilt(workspace).current_or_last(asset, partition)
