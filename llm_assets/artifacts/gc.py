"""Garbage: what no recipe of the store, recent build or kept artifact needs."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ArtifactError
from .identity import recipe_label
from .materialize import Workspace
from .store import Artifact


@dataclass(frozen=True)
class KeptForRecipe:
    """What another recipe keeps: artifacts that would go without it, and when it was last used."""

    recipe: str
    last_used: str
    artifacts: list[Artifact]

    @property
    def bytes(self) -> int:
        return sum(artifact.record.total_bytes for artifact in self.artifacts)


@dataclass(frozen=True)
class Garbage:
    """What a collection would remove: artifacts, the folders of interrupted builds, and notes of forgotten recipes.

    kept_for_recipes: what is there for other recipes alone, by recipe.
    """

    artifacts: list[Artifact]
    staging: list[Path]
    bytes: int
    kept_for_recipes: list[KeptForRecipe]
    forgotten: list[str]


def find_garbage(
    workspace: Workspace, keep_last: int = 1, staging_days: float = 7.0, forget: Sequence[str] = ()
) -> Garbage:
    """Artifacts to remove: all but those that a recipe of the store resolves to, the `keep_last` newest of each asset
    and partition, and every input of a kept one. Interrupted builds older than `staging_days` that nobody is working
    on go too.

    The recipes of the store are the workspace's, with what it resolves to now, and all others that artifacts were
    built or found for, with what each resolved to when it was last used.
    forget: names, or labels (``name@digest``), of recipes that keep nothing any more; the workspace's always does.
    Raises ArtifactError for one that the store does not know.
    """
    store = workspace.store
    everything = list(store.artifacts())
    current = recipe_label(workspace.recipe)
    remembered = store.remembered_recipes()
    for name in forget:
        if not any(name in (label, label.rpartition("@")[0]) for label in remembered):
            raise ArtifactError(f"no recipe {name!r}; the store knows {', '.join(sorted(remembered)) or 'none'}")
    forgotten = [
        label for label in remembered if label != current and not {label, label.rpartition("@")[0]}.isdisjoint(forget)
    ]
    resolver = workspace.resolver()
    resolved = [resolver.resolve(*key).artifact for key in workspace.graph.keys(workspace.recipe)]
    roots = {artifact.record.identity for artifact in resolved if artifact is not None}
    by_key: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in everything:
        by_key[artifact.record.key].append(artifact)
    for versions in by_key.values():
        roots |= {artifact.record.identity for artifact in versions[len(versions) - keep_last :] if keep_last}
    by_folder = {str(artifact.path.relative_to(store.root)): artifact.record.identity for artifact in everything}
    of_recipes = {
        label: {by_folder[folder] for folder in recipe.folders if folder in by_folder}
        for label, recipe in remembered.items()
        if label != current and label not in forgotten
    }
    kept = _with_inputs(everything, roots.union(*of_recipes.values()))
    others = []
    for label in sorted(of_recipes):
        without = _with_inputs(everything, roots.union(*(of_recipes[other] for other in of_recipes if other != label)))
        alone = [artifact for artifact in everything if artifact.record.identity in kept - without]
        others.append(KeptForRecipe(label, remembered[label].last_used, alone))
    garbage = [artifact for artifact in everything if artifact.record.identity not in kept]
    staging = [
        p for p in (store.root / ".staging").glob("*/*/*") if p.is_dir() and _abandoned(store.root, p, staging_days)
    ]
    size = sum(a.record.total_bytes for a in garbage) + sum(
        f.stat().st_size for p in staging for f in p.rglob("*") if f.is_file()
    )
    return Garbage(garbage, staging, size, others, forgotten)


def _with_inputs(everything: list[Artifact], roots: set[str]) -> set[str]:
    """Identities of artifacts and of all that they were built from."""
    by_identity = {artifact.record.identity: artifact for artifact in everything}
    by_version = {(artifact.record.key, artifact.data_version): artifact.record.identity for artifact in everything}
    kept: set[str] = set()
    front = [identity for identity in roots if identity in by_identity]
    while front:
        identity = front.pop()
        if identity not in kept:
            kept.add(identity)
            inputs = by_identity[identity].record.inputs
            front += [by_version[pair] for pair in inputs if pair in by_version]
    return kept


def collect(workspace: Workspace, garbage: Garbage) -> None:
    """Remove what `find_garbage` found."""
    for artifact in garbage.artifacts:
        workspace.store.delete(artifact)
    for folder in garbage.staging:
        shutil.rmtree(folder, ignore_errors=True)
    for label in garbage.forgotten:
        workspace.store.forget_recipe(label)


def _abandoned(root: Path, folder: Path, days: float) -> bool:
    newest = max((p.stat().st_mtime for p in [folder, *folder.rglob("*")]), default=0.0)
    if time.time() - newest < days * 86_400:
        return False
    for lock in (root / ".locks").glob(f"{folder.name}*"):
        with open(lock) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
    return True
