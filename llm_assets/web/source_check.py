"""Checks a crawl's source before it is registered. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_assets.recipes import Texts, WarcFiles, WebCrawl
from llm_assets.warc import WarcError, compression_of, first_bytes

from .errors import SourceError
from .text_files import problem_of_texts
from .urls import host_of, is_private_host
from .warc_files import is_url, list_files

_BEGINNINGS = (b"WARC/", b"filedesc:")


def check_source(source: Any) -> list[str]:
    """Return warnings about a source, and raise SourceError for one that cannot give a crawl.

    WARC files: a missing path, a folder without archives, and files of which none can be read are errors; files of
    which some are not archives are a warning. Files of texts likewise, where a file without the text column cannot be
    read. The crawler: a seed on this machine or in its network is an error without `allow_private`. A URL of WARC files
    is not checked.
    """
    if isinstance(source, WarcFiles) and not is_url(source.path):
        return _check_files(source, _problem, "WARC or ARC files")
    if isinstance(source, Texts):
        return _check_files(source, lambda path: problem_of_texts(path, source), "files of texts")
    if isinstance(source, WebCrawl) and not source.allow_private:
        private = [seed for seed in source.seeds if is_private_host(host_of(seed))]
        if private:
            raise SourceError(
                f"seed {private[0]} is on this machine or in its network, which crawls do not enter by default; "
                "add --set allow_private=true"
            )
    return []


def _check_files(source: WarcFiles | Texts, problem_of: Callable[[Path], str | None], wanted: str) -> list[str]:
    files = list_files(source)
    problems = {str(path): problem_of(path) for path in files.values()}
    problems = {path: problem for path, problem in problems.items() if problem is not None}
    if len(problems) == len(files):
        path, problem = next(iter(problems.items()))
        others = f" (and {len(files) - 1} other files cannot be used either)" if len(files) > 1 else ""
        raise SourceError(f"{path}: {problem}{others}; give {wanted}")
    return [f"{path}: {problem}" for path, problem in problems.items()]


def _problem(path: Path) -> str | None:
    """What is wrong with the first bytes of an archive; None if nothing is."""
    try:
        if not path.stat().st_size:
            return "is empty"
        path.open("rb").close()
        compression, head = compression_of(path), first_bytes(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except WarcError as error:
        return str(error).removeprefix(f"{path}: ")
    if compression is not None and not head:
        return f"its first {compression.name} member is damaged"
    return None if head.lstrip(b"\r\n\0").startswith(_BEGINNINGS) else "is not a WARC or ARC file"
