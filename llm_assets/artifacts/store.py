"""The artifact store: immutable, content-addressed folders; a folder becomes visible only when it is complete.

Layout below the root (a local folder)::

    <asset>/<partition or _>/<short identity>/artifact.json   the record, beside the data
    .staging/<asset>/<partition>/<short identity>/             a build in progress; kept if it is killed
    .locks/<32 hex digits of the identity>                     held with flock during the build
    .latest/<asset>/<partition>                                the short identity last published or found
    .recipes/<name>@<digest>/<asset>/<partition>               the same per recipe, with the day

A build happens in staging and becomes visible by one rename, after its record is on disk. `RemoteStore` keeps artifacts
at a URL, with such a folder as its cache.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from . import build_lock
from .artifact import Artifact, build_order, read_artifact
from .build_lock import Build
from .errors import ArtifactError, CorruptArtifact, clear_disk_errors
from .identity import Identity
from .record import RECORD, Record, fsync_path, write_atomic

if TYPE_CHECKING:
    from .remote_leftovers import Upload
    from .remote_staging import RemoteStaging

NO_PARTITION = "_"
RECIPES = ".recipes"
CHECKS = ".checks"
_LOCKS = ".locks"


@dataclass
class RememberedRecipe:
    """What a recipe resolved to when it was last used: folders below the root, and the day (``2026-11-25``)."""

    label: str
    folders: set[str] = field(default_factory=set)
    last_used: str = ""


class Store:
    """A store in a local folder."""

    def __init__(self, root: Path | str):
        self.root = Path(root).absolute()

    def folder(self, identity: Identity) -> Path:
        """The folder of an artifact."""
        return self.root / identity.asset / (identity.partition or NO_PARTITION) / identity.short_id

    def staging(self, identity: Identity) -> Path:
        """The folder of a build in progress."""
        return self.root / ".staging" / identity.asset / (identity.partition or NO_PARTITION) / identity.short_id

    def lookup(self, identity: Identity) -> Artifact | None:
        """The artifact of this identity, or None. Costs one small read, and a stat per file.

        Raises CorruptArtifact if a file is missing or has the wrong size.
        """
        artifact = read_artifact(self.folder(identity))
        if artifact is None:
            return None
        if artifact.record.identity != identity.digest:
            raise CorruptArtifact(
                f"{artifact.folder}: holds identity {artifact.record.identity}, not {identity.digest}; "
                "two identities share 64 bits, or the folder was edited"
            )
        self.check_sizes(artifact)
        return artifact

    def check_sizes(self, artifact: Artifact) -> None:
        """Raise CorruptArtifact if a file is missing or has the wrong size."""
        for name, entry in artifact.record.files.items():
            if entry.location is None:
                try:
                    size = (artifact.folder / name).stat().st_size
                except FileNotFoundError:
                    size = -1
                if size != entry.bytes:
                    problem = "is missing" if size < 0 else f"has {size} bytes, but the record says {entry.bytes}"
                    raise CorruptArtifact(
                        f"{artifact.folder / name}: {problem}; remove the folder {artifact.folder} to rebuild it"
                    )

    def artifacts(self, asset: str | None = None, partition: str | None = None) -> Iterator[Artifact]:
        """Every artifact, sorted by asset, partition, then the time of its build."""
        if not self.root.is_dir():
            return
        for asset_folder in sorted(self.root.iterdir()):
            if asset_folder.name.startswith(".") or not asset_folder.is_dir() or (asset and asset_folder.name != asset):
                continue
            for partition_folder in sorted(p for p in asset_folder.iterdir() if p.is_dir()):
                if partition is not None and partition_folder.name != partition:
                    continue
                artifacts = [read_artifact(folder) for folder in partition_folder.iterdir()]
                yield from sorted((artifact for artifact in artifacts if artifact is not None), key=build_order)

    def artifact_at(self, place: str) -> Artifact | None:
        """The artifact at ``<asset>/<partition or _>/<short identity>``; None if there is none."""
        return read_artifact(self.root / place)

    def find(self, prefix: str) -> Artifact:
        """The artifact whose identity starts with `prefix`. Raises ArtifactError if there is none or several."""
        matches = [artifact for artifact in self.artifacts() if artifact.record.identity.startswith(prefix)]
        if len(matches) != 1:
            count = "several artifacts" if matches else "no artifact"
            raise ArtifactError(f"{count} in {self.root} with an identity that starts with {prefix!r}")
        return matches[0]

    def latest(self, asset: str, partition: str | None) -> Artifact | None:
        """The artifact that was last built or found for this asset and partition, to compare a recipe with."""
        short = self.latest_id(asset, partition)
        return read_artifact(self.root / asset / (partition or NO_PARTITION) / short) if short else None

    def latest_id(self, asset: str, partition: str | None) -> str:
        """The short identity of `latest` on this machine; empty if there is none."""
        try:
            return (self.root / ".latest" / asset / (partition or NO_PARTITION)).read_text().strip()
        except FileNotFoundError:
            return ""

    def touch_latest(self, identity: Identity) -> None:
        """Make this artifact the latest of its asset and partition."""
        pointer = self.root / ".latest" / identity.asset / (identity.partition or NO_PARTITION)
        try:
            if pointer.read_text() == identity.short_id:
                return
        except FileNotFoundError:
            pass
        with clear_disk_errors(self.root):
            write_atomic(pointer, identity.short_id.encode())

    def latest_pointers(self) -> list[Path]:
        """The files that name the latest artifacts, one for each asset and partition."""
        return [path for path in sorted((self.root / ".latest").glob("*/*")) if not path.name.endswith(".tmp")]

    def remember_recipe(self, recipe: str, identity: Identity) -> None:
        """Note that a recipe, by label, resolves to `identity`, so that `gc` keeps it. Writes at most once a day."""
        name = f"{identity.asset}/{identity.partition or NO_PARTITION}"
        note = f"{identity.short_id} {datetime.now(UTC):%Y-%m-%d}\n"
        with clear_disk_errors(self.root):
            if not self._has_note(f"{RECIPES}/{recipe}/{name}", note.encode()):
                self.write_recipe_note(f"{RECIPES}/{recipe}/{name}", note.encode())

    def _has_note(self, name: str, note: bytes) -> bool:
        try:
            return (self.root / name).read_bytes() == note
        except FileNotFoundError:
            return False

    def write_recipe_note(self, name: str, note: bytes) -> None:
        """Write a note about a recipe. `name` is its path below the root."""
        write_atomic(self.root / name, note)

    def recipe_notes(self) -> dict[str, str]:
        """The notes about recipes, by path below the root."""
        paths = [path for path in sorted((self.root / RECIPES).glob("*/*/*")) if not path.name.endswith(".tmp")]
        return {str(path.relative_to(self.root)): path.read_text() for path in paths}

    def remembered_recipes(self) -> dict[str, RememberedRecipe]:
        """The recipes that this store has been used with, by label."""
        recipes: dict[str, RememberedRecipe] = {}
        for name, note in self.recipe_notes().items():
            recipe, asset, partition = name.split("/")[1:]
            short, _, day = note.strip().partition(" ")
            known = recipes.setdefault(recipe, RememberedRecipe(recipe))
            known.folders.add(f"{asset}/{partition}/{short}")
            known.last_used = max(known.last_used, day)
        return recipes

    def recipe_labels(self) -> list[str]:
        """Labels of the recipes that this store has been used with."""
        folder = self.root / RECIPES
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def notes_of(self, recipe: str, asset: str) -> dict[str, str]:
        """The notes about an asset of a recipe, by partition (NO_PARTITION for none)."""
        folder = self.root / RECIPES / recipe / asset
        return {path.name: path.read_text() for path in folder.glob("*") if not path.name.endswith(".tmp")}

    def forget_recipe(self, recipe: str) -> None:
        """Remove the notes about a recipe."""
        with clear_disk_errors(self.root):
            shutil.rmtree(self.root / RECIPES / recipe, ignore_errors=True)

    @contextlib.contextmanager
    def lock(
        self, identity: Identity, on_wait: Callable[[str], None] | None = None, run_id: str | None = None
    ) -> Iterator[None]:
        """Wait for the lock of `identity` and hold it. The kernel releases it when the holder dies.

        on_wait: called once, with the current holder, if another process holds the lock. run_id: the Dagster run, to
        show to those who wait.
        """
        with self._lock(identity.digest, identity.key, on_wait, run_id):
            yield

    def remote_staging(self, identity: Identity) -> RemoteStaging:
        """Where workers on other machines store a build's tasks. Raises ArtifactError: a folder has no such place."""
        raise ArtifactError(
            f"the store {self.root} is a folder of this machine, which workers on other machines do not see; set "
            "LLM_ASSETS_STORE to a URL: s3://bucket/prefix, or local:///folder for a folder that all machines share"
        )

    def require_lock(self, identity: Identity) -> None:
        """Raise LeaseLost if another builder has taken over, as it can at a URL; here the kernel keeps the lock."""

    @contextlib.contextmanager
    def _lock(self, digest: str, key: str, on_wait: Callable[[str], None] | None, run_id: str | None) -> Iterator[None]:
        path = self.root / _LOCKS / digest[:32]
        with clear_disk_errors(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with build_lock.held(lock, path, key, on_wait, run_id):
            yield

    def builds_in_progress(self) -> list[Build]:
        """The builds of this store in progress on this machine."""
        return build_lock.builds_below(self.root / _LOCKS)

    def open_staging(self, identity: Identity) -> Path:
        """The build folder of `identity`, with the finished tasks of an interrupted build."""
        staging = self.staging(identity)
        with clear_disk_errors(self.root):
            staging.mkdir(parents=True, exist_ok=True)
            for leftover in staging.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
        return staging

    def publish(self, identity: Identity, staging: Path, record: Record) -> Artifact:
        """Write the record into a finished staging folder, then make the folder visible by one rename."""
        final = self.folder(identity)
        with clear_disk_errors(self.root):
            for folder, _, _ in os.walk(staging):
                fsync_path(Path(folder))
            write_atomic(staging / RECORD, record.dump())
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(staging, final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or self.lookup(identity) is None:
                    raise
                shutil.rmtree(staging)  # another process has published the same identity
            fsync_path(final.parent)
        self.touch_latest(identity)
        artifact = self.lookup(identity)
        if artifact is None:
            raise CorruptArtifact(f"{final}: disappeared right after it was published")
        return artifact

    def replace(self, before: Artifact, now: Artifact) -> Artifact:
        """Publish an artifact that a takedown changed in place in the local folder; returns the changed artifact."""
        pointer = self.root / ".latest" / now.record.asset / (now.record.partition or NO_PARTITION)
        if before.folder != now.folder and pointer.exists() and pointer.read_text().strip() == before.folder.name:
            write_atomic(pointer, now.record.short_id.encode())
        return now

    def delete(self, artifact: Artifact) -> None:
        """Remove an artifact and its check results. The record goes first: a folder without it is no artifact."""
        with clear_disk_errors(self.root):
            (artifact.folder / RECORD).unlink()
            shutil.rmtree(artifact.folder)
            self.forget_checks(artifact.record.short_id)

    def delete_all(self, artifacts: Sequence[Artifact]) -> None:
        """Remove many artifacts."""
        for artifact in artifacts:
            self.delete(artifact)

    def remove_leftovers(self, short_id: str, key: str) -> None:
        """Remove what a killed deletion left of an artifact: its folder without a record, and check results."""
        folder = self._folder_of(short_id, key)
        if not (folder / RECORD).exists():
            with clear_disk_errors(self.root):
                shutil.rmtree(folder, ignore_errors=True)
            self.forget_checks(short_id)

    def _folder_of(self, short_id: str, key: str) -> Path:
        asset, _, partition = key.partition("/")
        return self.root / asset / (partition or NO_PARTITION) / short_id

    def read_check(self, name: str) -> bytes | None:
        """The stored result of a check, or None. `name` begins with the short identity of the artifact."""
        try:
            return (self.root / CHECKS / name).read_bytes()
        except FileNotFoundError:
            return None

    def write_check(self, name: str, result: bytes) -> None:
        """Store the result of a check."""
        write_atomic(self.root / CHECKS / name, result)

    def forget_checks(self, short_id: str) -> None:
        """Remove the results of an artifact's checks."""
        shutil.rmtree(self.root / CHECKS / short_id, ignore_errors=True)

    def interrupted_uploads(self, days: float) -> list[Upload]:
        """What interrupted builds left at a URL; a local store has no URL."""
        return []

    def remove_upload(self, upload: Upload) -> None:
        """Remove what an interrupted build left at a URL."""


__all__ = ["CHECKS", "NO_PARTITION", "RECIPES", "Artifact", "RememberedRecipe", "Store", "clear_disk_errors"]
