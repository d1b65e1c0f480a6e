"""A look at a crawl's source before it is registered. Nothing is fetched."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from llm_assets.recipes import WarcFiles, WebCrawl
from llm_assets.warc import GZIP_MAGIC

from .errors import SourceError
from .urls import host_of, is_private_host
from .warc_files import is_url, list_files

_BEGINNINGS = (b"WARC/", b"filedesc:")
_PROBE = 512


def check_source(source: Any) -> list[str]:
    """Warnings about a source. Raises SourceError for one that no crawl can come of.

    WARC files: a missing path, a folder without any, files that cannot be read; files of which some are no archives are
    a warning. Own crawls: a seed on this machine or in its network without `allow_private`. A URL is taken as it is.
    """
    if isinstance(source, WarcFiles) and not is_url(source.path):
        return _check_files(source)
    if isinstance(source, WebCrawl) and not source.allow_private:
        private = [seed for seed in source.seeds if is_private_host(host_of(seed))]
        if private:
            raise SourceError(
                f"seed {private[0]} is on this machine or in its network, where crawls do not go unless told to: "
                "add --set allow_private=true"
            )
    return []


def _check_files(source: WarcFiles) -> list[str]:
    files = list_files(source)
    problems = {str(path): problem for path in files.values() if (problem := _problem(path)) is not None}
    if len(problems) == len(files):
        path, problem = next(iter(problems.items()))
        others = f" (nor can {len(files) - 1} others be used)" if len(files) > 1 else ""
        raise SourceError(f"{path}: {problem}{others}; give WARC or ARC files")
    return [f"{path}: {problem}" for path, problem in problems.items()]


def _problem(path: Path) -> str | None:
    """What is wrong with the beginning of an archive."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_PROBE)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "is empty"
    if head.startswith(GZIP_MAGIC):
        try:
            head = zlib.decompressobj(31).decompress(head, _PROBE)
        except zlib.error as error:
            return f"its first gzip member is damaged ({error})"
    return None if head.lstrip().startswith(_BEGINNINGS) else "is no WARC or ARC file"
