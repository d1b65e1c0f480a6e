"""A user's files as a crawl: WARC and ARC files, or files of texts."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path

from llm_assets.recipes import Texts, WarcFiles
from llm_assets.row_files import ENDINGS
from llm_assets.warc import is_archive_name

from .errors import SourceError


def is_url(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def list_files(source: WarcFiles | Texts) -> dict[str, Path]:
    """The files of a folder (searched recursively), of one path, or of a glob, by their name in the crawl, in order.

    In a folder, only files named like WARC or ARC files count, or like files of rows for texts, and no hidden ones,
    such as the ``._*`` of macOS; a file or glob that the user names is taken as it is.
    What exists under the name itself is no pattern, and neither are the folders of a pattern that exist.
    Raises SourceError if there is no file.
    """
    path = Path(source.path).expanduser()
    if path.is_dir():
        if isinstance(source, Texts):
            files = _files_in(path, lambda name: name.endswith(ENDINGS), "file of texts", ENDINGS)
        else:
            files = _files_in(path, is_archive_name, "WARC or ARC file", (".warc", ".warc.gz", ".arc", ".arc.gz"))
        return _named(files, lambda file: file.relative_to(path))
    if path.is_file():
        return {path.name: path.absolute()}
    matches = _matches(path)
    if not matches:
        raise SourceError(f"{path.absolute()}: no such file or folder, and no file matches it as a pattern")
    names = {match.name for match in matches}
    if len(names) == len(matches):
        return {match.name: match.absolute() for match in matches}
    return _named(matches, lambda match: match)


def _matches(pattern: Path) -> list[Path]:
    folder = next(parent for parent in pattern.parents if parent.is_dir())
    names = glob.glob(str(pattern.relative_to(folder)), root_dir=folder, recursive=True)
    return sorted(folder / name for name in names if (folder / name).is_file())


def _files_in(folder: Path, is_wanted: Callable[[str], bool], kind: str, endings: tuple[str, ...]) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder))]
    wanted = sorted(path for path in files if is_wanted(path.name))
    if wanted:
        return wanted
    others = f"; it holds {len(files)} other files, such as {min(file.name for file in files)}" if files else ""
    raise SourceError(
        f"{folder.absolute()}: no {kind} in this folder (looked for {', '.join(f'*{ending}' for ending in endings)}"
        f"{others or '; it is empty'})"
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _named(files: list[Path], path_of: Callable[[Path], Path]) -> dict[str, Path]:
    """Files by their paths as file names, so that files of the same name in different folders stay distinct.

    A folder may hold both `a/b.warc` and `a~b.warc`. Then both characters are escaped (RFC 6901, section 3).
    """
    paths = [str(path_of(file)).strip("/") for file in files]
    names = [path.replace("/", "~") for path in paths]
    if len(set(names)) < len(names):
        names = [path.replace("~", "~0").replace("/", "~1") for path in paths]
    return {name: file.absolute() for name, file in zip(names, files, strict=True)}
