"""Digests of external inputs (a user's files), cached by path, size and modification time."""

from __future__ import annotations

import json
from pathlib import Path

from .identity import fingerprint
from .record import file_digest, write_atomic

# By cache file, then by absolute path: [size, modification time in ns, SHA-256].
_digests_in_memory: dict[str, dict[str, list]] = {}


def external_digests(files: dict[str, Path], cache: Path | None = None) -> dict[str, str]:
    """SHA-256 of each file, in hex, by name.

    cache: a JSON file of digests; a file whose size and modification time are unchanged is not read again.
    """
    known = _digests_in_memory.setdefault(str(cache), {})
    if cache is not None and not known and cache.exists():
        try:
            known.update(json.loads(cache.read_text()))
        except ValueError:
            known.clear()  # an unreadable cache costs only time
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
    """One data version (32 hex digits) for a set of named files."""
    return fingerprint(digests)[:32]


def files_version(files: dict[str, Path], cache: Path | None, error: type[Exception], where: str) -> dict[str, str]:
    """The `external_inputs` of a stage that reads a user's files: one version for all; empty if there are no files.

    Raises `error` if a file is missing; `where` is the recipe field that names the files.
    """
    missing = [f"{name} ({path})" for name, path in files.items() if not path.is_file()]
    if missing:
        raise error(f"{where}: no such file: {', '.join(missing)}")
    return {"files": external_version(external_digests(files, cache))} if files else {}
