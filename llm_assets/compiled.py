"""Functions compiled by numba, with a cache that cannot be stale.

numba recompiles a function when the file that defines it changes, but not when it calls a function in another file that
changed. The name of the cache folder therefore holds a digest of every compiled module: after any change, all of them
are compiled again (about 30 seconds, once; `llm_assets.precompile` does it after an installation).
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

_PACKAGE = Path(__file__).resolve().parent
_KEEP_SECONDS = 7 * 86_400  # for folders of other versions of the code, which another checkout may still use


def _folder() -> Path:
    """The cache folder: in the package if that is writable, else in the user's cache."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_bytes()
        if b"compiled import" in source or path == Path(__file__):
            digest.update(source)
    name = f"numba-{digest.hexdigest()[:12]}"
    package_cache = _PACKAGE / "__pycache__" / name
    with suppress(OSError):
        package_cache.mkdir(parents=True, exist_ok=True)
        return package_cache
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-assets" / name


def _prune(folder: Path) -> None:
    """Remove cache folders of other versions that have not been used for a week."""
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
# Sums in an order of the compiler's, so that they are vectorised: eight and more terms at a time.
vectorised = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
