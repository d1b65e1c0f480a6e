"""Views: pages and plots drawn from an artifact.

They are stored beside its data and are no part of its data version. If their template or code changes, they are drawn
again without a build.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .artifact import Artifact
from .errors import clear_disk_errors
from .identity import fingerprint
from .inputs import Inputs
from .record import write_atomic
from .source import module_file, source_digests

if TYPE_CHECKING:
    from .resolver import Resolution
    from .stage import Stage

# Files that are stored beside the data and are no part of the artifact.
VIEW_VERSIONS = "views.json"
STAGE_METADATA = "shown.json"
PREVIEW = "preview.json"
SIDECARS = (VIEW_VERSIONS, STAGE_METADATA, PREVIEW)
REPORT_PACKAGE = "llm_assets.report"


@dataclass(frozen=True)
class View:
    """A file that is drawn from an artifact.

    file: its path in the artifact's folder.
    draw: ``draw(artifact, inputs, config)`` returns its text or bytes, from stored data only.
    templates: files beside the module of `draw` that it uses.
    """

    file: str
    draw: Callable[[Artifact, Inputs, Any], str | bytes]
    templates: tuple[str, ...] = ()

    def version(self) -> str:
        """Digest of the code and templates that draw it."""
        return drawing_version(self.draw, self.templates)


@lru_cache
def drawing_version(draw: Callable[..., Any], templates: tuple[str, ...] = ()) -> str:
    """Digest of a drawing function's code, of its template files, and of the report package."""
    module, report = module_file(draw.__module__), module_file(REPORT_PACKAGE)
    assert module is not None and report is not None
    files = [module.parent / name for name in templates]
    files += [path for pattern in ("*.py", "*.j2") for path in sorted(report.parent.glob(pattern))]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return fingerprint({"templates": digests, "source": source_digests(draw)})[:16]


def draw_views(resolution: Resolution, artifact: Artifact, redraw: bool = False) -> list[str]:
    """Draw the artifact's views that are missing or whose template or code has changed; all of them if `redraw`.

    Returns the drawn files. Raises StoreUnwritable.
    """
    sidecar = artifact.folder / VIEW_VERSIONS
    try:
        drawn_with = dict(json.loads(sidecar.read_text()))
    except (FileNotFoundError, ValueError):
        drawn_with = {}
    drawn = []
    for view in resolution.stage.views:
        version, path = view.version(), artifact.folder / view.file
        if not redraw and drawn_with.get(view.file) == version and path.exists():
            continue
        content = view.draw(artifact, resolution.inputs, resolution.config)
        with clear_disk_errors(artifact.folder):
            write_atomic(path, content.encode("utf-8", "replace") if isinstance(content, str) else content)
        drawn_with[view.file] = version
        drawn.append(view.file)
    if drawn:
        with clear_disk_errors(artifact.folder):
            write_atomic(sidecar, json.dumps(drawn_with, indent=1, sort_keys=True).encode())
    return drawn


def stage_metadata(stage: Stage, artifact: Artifact) -> dict[str, Any]:
    """The stage's Markdown texts and numbers for an artifact's page, cached beside it (a plot takes 0.2 s to draw)."""
    show = stage.show
    if show is None:
        return {}
    return dict(cached_beside(artifact, STAGE_METADATA, drawing_version(show), lambda: dict(show(artifact))))


def cached_beside(artifact: Artifact, sidecar: str, version: str, make: Callable[[], Any]) -> Any:
    """The JSON value that `make` returns, cached in a file beside the artifact as long as `version` is the same."""
    path = artifact.folder / sidecar
    try:
        cached = json.loads(path.read_text())
        if cached["version"] == version:
            return cached["value"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    value = make()
    with clear_disk_errors(artifact.folder):
        write_atomic(path, json.dumps({"version": version, "value": value}).encode())
    return value
