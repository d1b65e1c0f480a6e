"""Garbage collection: finds and removes what no known recipe, recent build or retained artifact needs."""

from __future__ import annotations

import fcntl
import itertools
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .artifact import Artifact
from .errors import ArtifactError, BeingBuilt
from .identity import recipe_label
from .materialize import Workspace
from .remote_leftovers import Upload


@dataclass(frozen=True)
class KeptForRecipe:
    """Artifacts that only one other recipe still needs, and the day on which that recipe was last used."""

    recipe: str
    last_used: str
    artifacts: list[Artifact]

    @property
    def bytes(self) -> int:
        return sum(artifact.record.total_bytes for artifact in self.artifacts)


@dataclass(frozen=True)
class Garbage:
    """What a collection would remove: artifacts, folders of interrupted builds, and notes of forgotten recipes.

    uploads: what interrupted builds left at the URL of the store.
    kept_for_recipes: artifacts that the workspace's recipe does not need but another one does, by recipe.
    """

    artifacts: list[Artifact]
    staging: list[Path]
    uploads: list[Upload]
    bytes: int
    kept_for_recipes: list[KeptForRecipe]
    forgotten: list[str]


def find_garbage(
    workspace: Workspace, keep_last: int = 1, staging_days: float = 7.0, forget: Sequence[str] = ()
) -> Garbage:
    """Find what a collection would remove.

    An artifact is kept if a known recipe resolves to it, if it is among the `keep_last` newest of its asset and
    partition, or if a kept artifact was built from it. Interrupted builds are garbage once they are older than
    `staging_days` and nobody is working on them.

    Known recipes are the workspace's, with what it resolves to now, and every recipe that the store has been used with,
    with what it resolved to then.
    forget: names, or labels (``name@digest``), of recipes that keep nothing any more. The workspace's recipe is never
    forgotten. Raises ArtifactError for a recipe that the store does not know.
    """
    store = workspace.store
    artifacts = list(store.artifacts())
    remembered = store.remembered_recipes()
    forgotten = _forgotten_labels(remembered, forget, recipe_label(workspace.recipe))
    roots = _current_roots(workspace) | _newest_versions(artifacts, keep_last)
    by_folder = {str(artifact.folder.relative_to(store.root)): artifact.record.identity for artifact in artifacts}
    roots_by_recipe = {
        label: {by_folder[folder] for folder in recipe.folders if folder in by_folder}
        for label, recipe in remembered.items()
        if label != recipe_label(workspace.recipe) and label not in forgotten
    }
    kept_identities = _with_inputs(artifacts, roots.union(*roots_by_recipe.values()))
    kept_for_recipes = []
    for label in sorted(roots_by_recipe):
        other_roots = [roots_by_recipe[other] for other in roots_by_recipe if other != label]
        only_for_this = kept_identities - _with_inputs(artifacts, roots.union(*other_roots))
        exclusive = [artifact for artifact in artifacts if artifact.record.identity in only_for_this]
        kept_for_recipes.append(KeptForRecipe(label, remembered[label].last_used, exclusive))
    garbage = [artifact for artifact in artifacts if artifact.record.identity not in kept_identities]
    # Builds, and downloads that a killed process left.
    folders = [folder for pattern in ("[!.]*/*/*", ".fetch-*") for folder in (store.root / ".staging").glob(pattern)]
    staging = [folder for folder in folders if folder.is_dir() and _abandoned(store.root, folder, staging_days)]
    uploads = store.interrupted_uploads(staging_days)
    size = sum(artifact.record.total_bytes for artifact in garbage)
    size += sum(itertools.chain(map(_folder_bytes, staging), (upload.bytes for upload in uploads)))
    return Garbage(garbage, staging, uploads, size, kept_for_recipes, forgotten)


def _forgotten_labels(remembered: Collection[str], forget: Sequence[str], current: str) -> list[str]:
    """Labels of the recipes to forget. Raises ArtifactError for a name or label that the store does not know."""
    for name in forget:
        if not any(name in (label, label.rpartition("@")[0]) for label in remembered):
            raise ArtifactError(f"no recipe {name!r}; the store knows {', '.join(sorted(remembered)) or 'none'}")
    return [
        label for label in remembered if label != current and not {label, label.rpartition("@")[0]}.isdisjoint(forget)
    ]


def _current_roots(workspace: Workspace) -> set[str]:
    """Identities of the artifacts that the workspace's recipe resolves to."""
    resolver = workspace.resolver()
    resolved = [resolver.resolve(*key).artifact for key in workspace.graph.keys(workspace.recipe)]
    return {artifact.record.identity for artifact in resolved if artifact is not None}


def _newest_versions(artifacts: list[Artifact], count: int) -> set[str]:
    """Identities of the `count` newest artifacts of each asset and partition."""
    by_key: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        by_key[artifact.record.key].append(artifact)
    newest: set[str] = set()
    for versions in by_key.values() if count else ():
        newest |= {artifact.record.identity for artifact in versions[len(versions) - count :]}
    return newest


def _with_inputs(artifacts: list[Artifact], roots: set[str]) -> set[str]:
    """Identities of the root artifacts and of everything that they were built from."""
    by_identity = {artifact.record.identity: artifact for artifact in artifacts}
    by_version = {(artifact.record.key, artifact.data_version): artifact.record.identity for artifact in artifacts}
    reached: set[str] = set()
    front = [identity for identity in roots if identity in by_identity]
    while front:
        identity = front.pop()
        if identity not in reached:
            reached.add(identity)
            inputs = by_identity[identity].record.inputs
            front += [by_version[version] for version in inputs if version in by_version]
    return reached


def collect(workspace: Workspace, garbage: Garbage) -> None:
    """Remove what `find_garbage` found. Raises BeingBuilt for what is being built again, after all else is removed."""
    store, refusals = workspace.store, []
    uploads = [partial(store.remove_upload, upload) for upload in garbage.uploads]
    for remove in (partial(store.delete_all, garbage.artifacts), *uploads):
        try:
            remove()
        except BeingBuilt as error:
            refusals.append(str(error))
    for folder in garbage.staging:
        shutil.rmtree(folder, ignore_errors=True)
    for label in garbage.forgotten:
        store.forget_recipe(label)
    if refusals:
        raise BeingBuilt("\n".join(refusals))


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _abandoned(root: Path, folder: Path, days: float) -> bool:
    """Whether a build folder has not changed for `days` and nobody holds its lock."""
    newest = max((path.stat().st_mtime for path in [folder, *folder.rglob("*")]), default=0.0)
    if time.time() - newest < days * 86_400:
        return False
    for lock in (root / ".locks").glob(f"{folder.name}*"):
        with open(lock) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
    return True
