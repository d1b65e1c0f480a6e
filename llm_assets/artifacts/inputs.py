"""The artifacts that a build, a check or a view reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from .artifact import Artifact
from .errors import ArtifactError


class Inputs(Mapping[str, Artifact]):
    """Artifacts by key (``asset`` or ``asset/crawl``), in reading order.

    Crawls are sorted by name, or oldest first where one continues another.
    """

    def __init__(self, artifacts: Mapping[str, Artifact], crawl: str | None = None):
        self._artifacts, self._crawl = dict(artifacts), crawl

    def __getitem__(self, key: str) -> Artifact:
        return self._artifacts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._artifacts)

    def __len__(self) -> int:
        return len(self._artifacts)

    def artifact(self, asset: str) -> Artifact:
        """The input artifact of an asset: the one without a partition, or that of the same crawl.

        Raises ArtifactError if there is none.
        """
        for key in (asset, f"{asset}/{self._crawl}"):
            if key in self._artifacts:
                return self._artifacts[key]
        raise ArtifactError(f"no input {asset}; the inputs are {', '.join(self._artifacts) or 'none'}")

    def files_at(self, path: Path) -> tuple[Artifact | None, list[str]]:
        """The input artifact that has files at a path, or below it, and the names of these files.

        The files need not have been downloaded. (None, []) if there is none; files outside the store do not count.
        """
        for artifact in self._artifacts.values():
            if path.is_relative_to(artifact.folder):
                place, files = path.relative_to(artifact.folder).as_posix(), artifact.record.files
                below = "" if place == "." else f"{place}/"
                names = [place] if place in files else [name for name in files if name.startswith(below)]
                if names := [name for name in names if files[name].location is None]:
                    return artifact, names
        return None, []

    def by_crawl(self, asset: str) -> dict[str, Artifact]:
        """The input artifacts of an asset by crawl, for the crawls that the stage reads and that are built."""
        prefix = f"{asset}/"
        return {
            key.removeprefix(prefix): artifact for key, artifact in self._artifacts.items() if key.startswith(prefix)
        }
