"""Digests of inputs that are no artifacts (a user's files), remembered by path, size and time of change."""

from __future__ import annotations

import json
from pathlib import Path

from .identity import fingerprint
from .record import file_digest, write_atomic

_memory: dict[str, dict[str, list]] = {}


def external_digests(files: dict[str, Path], cache: Path | None = None) -> dict[str, str]:
    """SHA-256 of each file. `cache` (a JSON file) spares reading again what has neither another size nor another mtime."""
    known = _memory.setdefault(str(cache), {})
    if cache is not None and not known and cache.exists():
        try:
            known.update(json.loads(cache.read_text()))
        except ValueError:
            known.clear()  # a cache that cannot be read costs time, nothing else
    changed = False
    digests = {}
    for name, path in files.items():
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        entry = known.get(str(path.absolute()))
        if entry is None or entry[:2] != stamp:
            entry = known[str(path.absolute())] = [*stamp, file_digest(path)]
            changed = True
        digests[name] = entry[2]
    if changed and cache is not None:
        write_atomic(cache, json.dumps(known, sort_keys=True).encode())
    return digests


def external_version(digests: dict[str, str]) -> str:
    """One data version for a set of named files."""
    return fingerprint(digests)[:32]


def files_version(files: dict[str, Path], cache: Path | None, error: type[Exception], where: str) -> dict[str, str]:
    """What a stage that reads files of the user's gives as `external_inputs`: one version for all, nothing without any.

    Raises `error` where some are missing; `where` says which field of the recipe names them.
    """
    missing = [f"{name} ({path})" for name, path in files.items() if not path.is_file()]
    if missing:
        raise error(f"{where}: no such file: {', '.join(missing)}")
    return {"files": external_version(external_digests(files, cache))} if files else {}
