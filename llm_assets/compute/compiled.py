"""Python compiled by numba, with a cache that cannot be stale.

numba renews a function's compiled code when the file that defines it changes, but not when a function in another file
that it calls does. The cache folder's name therefore holds a digest of every compiled module: whatever changes, all is
compiled anew (about 30 seconds, once; `curation.precompile` does it where the package is installed).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numba
from numba import config

_PACKAGE = Path(__file__).resolve().parents[1]
_KEEP_SECONDS = 7 * 86_400  # folders of other versions of the code, which another checkout may still use


def _folder() -> Path:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_bytes()
        if b"compute.compiled import" in source or path == Path(__file__):
            digest.update(source)
    name = f"numba-{digest.hexdigest()[:12]}"
    beside = _PACKAGE / "__pycache__"
    with suppress(OSError):
        (beside / name).mkdir(parents=True, exist_ok=True)
        return beside / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-assets" / name


def _prune(folder: Path) -> None:
    for other in folder.parent.glob("numba-*"):
        with suppress(OSError):
            if other != folder and time.time() - other.stat().st_mtime > _KEEP_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


if not config.CACHE_DIR:
    _cache = _folder()
    _prune(_cache)
    config.CACHE_DIR = str(_cache)

compiled = numba.njit(cache=True, nogil=True)
inlined = numba.njit(cache=True, nogil=True, inline="always")
