"""Artifacts that are served although the recipe would build others by now."""

from __future__ import annotations

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.errors import RESOLUTION_ERRORS, CorruptArtifact, LeftOut, NotBuilt
from llm_assets.artifacts.store import NO_PARTITION


def current_or_last_built(workspace: Workspace, asset: str) -> tuple[Artifact, bool]:
    """The artifact of an asset under the recipe, or else the one that was built last, and whether it is that (stale).

    A change of the recipe or a new vote must not take away a model until its training has been repeated, and neither
    must a missing file that the recipe names. Raises as `Resolver.artifact` does if the store has none (NotBuilt, which
    names such a file), if the recipe leaves the asset out, and for a damaged one.
    """
    try:
        return workspace.resolver().artifact(asset, None), False
    except (LeftOut, CorruptArtifact):
        raise
    except RESOLUTION_ERRORS as error:
        artifact = _last_built(workspace, asset)
        if artifact is not None:
            return artifact, True
        if isinstance(error, ValueError):  # of a stage, about a file
            raise NotBuilt(f"{asset} is not built, and cannot be: {error}") from error
        raise


def _last_built(workspace: Workspace, asset: str) -> Artifact | None:
    """The newest artifact of an asset that a recipe of this one's name has used: the model of another recipe in the
    same store must not take its place.
    """
    name = workspace.recipe.name
    recipes = workspace.store.remembered_recipes()
    of_recipe = {
        folder for label, recipe in recipes.items() if label.rpartition("@")[0] == name for folder in recipe.folders
    }
    artifacts = workspace.store.artifacts(asset)
    used = [item for item in artifacts if f"{asset}/{NO_PARTITION}/{item.record.short_id}" in of_recipe]
    return used[-1] if used else None
