"""Garbage: what no present recipe, recent build or kept artifact needs."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .materialize import Workspace
from .store import Artifact


@dataclass(frozen=True)
class Garbage:
    """What a collection would remove: artifacts, and the folders of interrupted builds."""

    artifacts: list[Artifact]
    staging: list[Path]
    bytes: int


def find_garbage(workspace: Workspace, keep_last: int = 1, staging_days: float = 7.0) -> Garbage:
    """Artifacts to remove: all but those the recipe resolves to, the `keep_last` newest of each asset and partition,
    and every input of a kept one. Interrupted builds older than `staging_days` that nobody is working on go too.
    """
    store = workspace.store
    everything = list(store.artifacts())
    kept: dict[str, Artifact] = {}
    resolver = workspace.resolver()
    for name, partition in workspace.graph.keys(workspace.recipe):
        artifact = resolver.resolve(name, partition).artifact
        if artifact is not None:
            kept[artifact.record.identity] = artifact
    by_key: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in everything:
        by_key[artifact.record.key].append(artifact)
    for versions in by_key.values():
        for artifact in versions[len(versions) - keep_last :] if keep_last else []:
            kept[artifact.record.identity] = artifact
    by_version = {(a.record.key, a.data_version): a for a in everything}
    front = list(kept.values())
    while front:
        needed = [by_version[pair] for one in front for pair in one.record.inputs if pair in by_version]
        front = [one for one in needed if one.record.identity not in kept]
        kept.update({one.record.identity: one for one in front})
    garbage = [a for a in everything if a.record.identity not in kept]
    staging = [
        p for p in (store.root / ".staging").glob("*/*/*") if p.is_dir() and _abandoned(store.root, p, staging_days)
    ]
    size = sum(a.record.total_bytes for a in garbage) + sum(
        f.stat().st_size for p in staging for f in p.rglob("*") if f.is_file()
    )
    return Garbage(garbage, staging, size)


def collect(workspace: Workspace, garbage: Garbage) -> None:
    """Remove what `find_garbage` found."""
    for artifact in garbage.artifacts:
        workspace.store.delete(artifact)
    for folder in garbage.staging:
        shutil.rmtree(folder, ignore_errors=True)


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
