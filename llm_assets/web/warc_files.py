"""Anyone's WARC and ARC files as a crawl."""

from __future__ import annotations

import glob
from pathlib import Path

from llm_assets.recipes import WarcFiles
from llm_assets.warc import is_archive_name

from .errors import SourceError


def is_url(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def list_files(source: WarcFiles) -> dict[str, Path]:
    """Name in the crawl → file, for a folder (searched recursively), one file, or a glob; in name order.

    Files of a folder must be named like WARC or ARC files; a file or glob that the user names is taken as it is.
    Raises SourceError where nothing is found.
    """
    path = Path(source.path).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and is_archive_name(p.name))
        if not found:
            others = [p.name for p in path.rglob("*") if p.is_file()]
            raise SourceError(
                f"{path.absolute()}: no WARC or ARC file in this folder (looked for *.warc, *.warc.gz, *.arc, *.arc.gz"
                + (f"; it holds {len(others)} other files, such as {min(others)})" if others else "; it is empty)")
            )
        return {str(p.relative_to(path)).replace("/", "~"): p.absolute() for p in found}
    if path.is_file():
        return {path.name: path.absolute()}
    matches = (
        sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if glob.has_magic(str(path))
        else []
    )
    if not matches:
        raise SourceError(f"{path.absolute()}: no such file or folder, and no file matches it as a pattern")
    names = [p.name for p in matches]
    if len(set(names)) == len(names):
        return {p.name: p.absolute() for p in matches}
    return {str(p).strip("/").replace("/", "~"): p.absolute() for p in matches}
