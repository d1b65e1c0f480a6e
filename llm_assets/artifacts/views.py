"""Views: pages and plots drawn from an artifact. They lie beside its data, are no part of its data version, and are
drawn again where their template or code has changed, without building anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .identity import fingerprint
from .inputs import Inputs
from .record import write_atomic
from .source import module_file, source_digests
from .store import Artifact, clear_disk_errors

if TYPE_CHECKING:
    from .stage import Resolution, Stage

SIDECAR = "views.json"
SHOWN, PREVIEW = "shown.json", "preview.json"
SIDECARS = (SIDECAR, SHOWN, PREVIEW)  # beside the data, and no part of it
REPORT_PACKAGE = "llm_assets.report"


@dataclass(frozen=True)
class View:
    """One file that is drawn from an artifact.

    file: its path within the artifact's folder.
    draw: ``draw(artifact, inputs, config)`` gives its text or bytes, from what is stored alone.
    templates: files beside `draw`'s module that it is drawn with.
    """

    file: str
    draw: Callable[[Artifact, Inputs, Any], str | bytes]
    templates: tuple[str, ...] = ()

    def version(self) -> str:
        """Digest of the code and the templates that draw it."""
        return drawing_version(self.draw, self.templates)


@lru_cache
def drawing_version(draw: Callable[..., Any], templates: tuple[str, ...] = ()) -> str:
    """Digest of the code behind a function that draws something, of the files beside it that it reads, and of plots."""
    module, report = module_file(draw.__module__), module_file(REPORT_PACKAGE)
    assert module is not None and report is not None
    files = [module.parent / name for name in templates]
    files += [path for pattern in ("*.py", "*.j2") for path in sorted(report.parent.glob(pattern))]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return fingerprint({"templates": digests, "source": source_digests(draw)})[:16]


def draw_views(resolution: Resolution, artifact: Artifact, anew: bool = False) -> list[str]:
    """Draw the artifact's views that are missing, or whose template or code has changed (all of them where `anew`).

    Returns the files that were drawn. Raises StoreUnwritable.
    """
    sidecar = artifact.path / SIDECAR
    try:
        drawn_with = dict(json.loads(sidecar.read_text()))
    except (FileNotFoundError, ValueError):
        drawn_with = {}
    drawn = []
    for view in resolution.stage.views:
        version, path = view.version(), artifact.path / view.file
        if not anew and drawn_with.get(view.file) == version and path.exists():
            continue
        content = view.draw(artifact, resolution.inputs, resolution.config)
        with clear_disk_errors(artifact.path):
            write_atomic(path, content.encode("utf-8", "replace") if isinstance(content, str) else content)
        drawn_with[view.file] = version
        drawn.append(view.file)
    if drawn:
        with clear_disk_errors(artifact.path):
            write_atomic(sidecar, json.dumps(drawn_with, indent=1, sort_keys=True).encode())
    return drawn


def shown(stage: Stage, artifact: Artifact) -> dict[str, Any]:
    """What the stage shows of an artifact: Markdown and numbers, kept beside it (a plot takes 0.2 s to draw)."""
    show = stage.show
    if show is None:
        return {}
    return dict(cached_beside(artifact, SHOWN, drawing_version(show), lambda: dict(show(artifact))))


def cached_beside(artifact: Artifact, sidecar: str, version: str, make: Callable[[], Any]) -> Any:
    """A plain value that `make` gives, kept in a file beside the artifact while its version is the same."""
    path = artifact.path / sidecar
    try:
        kept = json.loads(path.read_text())
        if kept["version"] == version:
            return kept["value"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    value = make()
    with clear_disk_errors(artifact.path):
        write_atomic(path, json.dumps({"version": version, "value": value}).encode())
    return value
