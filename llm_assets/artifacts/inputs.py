"""The artifacts that a build, a check or a view reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .errors import ArtifactError
from .store import Artifact


class Inputs(Mapping[str, Artifact]):
    """Artifacts by key (``asset`` or ``asset/crawl``), in the order in which they are read: crawls sorted by name, or
    oldest first where one continues the other.
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
        """The input of this asset: of the same crawl, or the one without a partition. Raises ArtifactError."""
        for key in (asset, f"{asset}/{self._crawl}"):
            if key in self._artifacts:
                return self._artifacts[key]
        raise ArtifactError(f"no input {asset}; there are {', '.join(self._artifacts) or 'none'}")

    def by_crawl(self, asset: str) -> dict[str, Artifact]:
        """The inputs of this asset by crawl: those of the crawls that the stage reads and that are built."""
        prefix = f"{asset}/"
        return {key.removeprefix(prefix): value for key, value in self._artifacts.items() if key.startswith(prefix)}
