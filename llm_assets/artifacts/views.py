"""Views: pages and plots drawn from an artifact. They lie beside its data, are no part of its data version, and are
drawn again where their template or code has changed, without building anything.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .identity import fingerprint
from .inputs import Inputs
from .record import write_atomic
from .source import source_digests
from .store import Artifact, guard_writes

if TYPE_CHECKING:
    from .stage import Resolution

SIDECAR = "views.json"
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
        module = importlib.import_module(self.draw.__module__)
        folder = Path(str(module.__file__)).parent
        report = Path(str(importlib.import_module(REPORT_PACKAGE).__file__)).parent
        files = [*(folder / name for name in self.templates), *sorted(report.glob("*.py")), *sorted(report.glob("*.j2"))]
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        return fingerprint({"templates": digests, "source": source_digests(self.draw)})[:16]


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
        with guard_writes(artifact.path):
            write_atomic(path, content.encode("utf-8", "replace") if isinstance(content, str) else content)
        drawn_with[view.file] = version
        drawn.append(view.file)
    if drawn:
        with guard_writes(artifact.path):
            write_atomic(sidecar, json.dumps(drawn_with, indent=1, sort_keys=True).encode())
    return drawn
