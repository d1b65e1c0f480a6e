"""Journals: the files of votes in the data folder, to which lines are only added.

The version of a journal is its number of bytes with their digest. A build of that version reads these bytes and no
others, however many votes are added meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .arena import contestants, table_of
from .open_prompts import PreferenceError
from .preference_files import read_rankings
from .ranking_files import ARENA, BOTH_BAD, RANKINGS, ranking_files
from .response_pairs import pair_digest

FOLDERS = {"votes": RANKINGS, "arena": ARENA}  # by the first part of a journal's name
CHUNK = 1 << 20
DIGITS = 32  # of the digest in a version


@dataclass(frozen=True)
class Journal:
    """The complete lines of a labeller's file.

    name: ``votes/<labeller>`` or ``arena/<labeller>``, as in the tables of `human_rankings` and among its inputs.
    size: bytes up to the end of the last complete line. What follows it has not been acknowledged.
    """

    name: str
    path: Path
    size: int
    digest: str

    @property
    def version(self) -> str:
        return f"{self.digest}@{self.size}"


def journals(data: Path, but: Sequence[Path] = ()) -> list[Journal]:
    """The journals of a data folder that have lines, except for those at some paths."""
    excluded = {path.resolve() for path in but}
    every = (
        Journal(f"{name}/{path.stem}", path, *_complete_lines(path))
        for name, folder in FOLDERS.items()
        for path in ranking_files(data, folder)
        if path.resolve() not in excluded
    )
    return [journal for journal in every if journal.size]


def journals_of_versions(data: Path, inputs: Mapping[str, str]) -> list[Journal]:
    """The journals among the inputs of an artifact, in the versions that it has of them.

    Raises PreferenceError if a journal does not begin with these lines, as after a takedown.
    """
    chosen = []
    for name, version in inputs.items():
        if not is_journal(name):
            continue
        kind, _, labeller = name.partition("/")
        path, size = data / FOLDERS[kind] / f"{labeller}.jsonl", size_of_version(version)
        if not path.is_file() or Journal(name, path, *_complete_lines(path, size)).version != version:
            raise PreferenceError(f"{path}: its first {size:,} bytes have changed meanwhile; run the command again")
        chosen.append(Journal(name, path, size, version.partition("@")[0]))
    return chosen


def is_journal(name: str) -> bool:
    """Whether an input of this name is a journal."""
    return name.partition("/")[0] in FOLDERS


def size_of_version(version: str) -> int:
    """The bytes of a journal that an artifact was built from; 0 for a version that is none."""
    size = version.partition("@")[2]
    return int(size) if size.isdigit() else 0


def unread_votes(current: Sequence[Journal], inputs: Mapping[str, str]) -> int:
    """The number of votes in journals that an artifact with these inputs was built without.

    Of several votes of one labeller on one pair one counts, as in the table of rankings.
    """
    unread: set[tuple[str, str]] = set()
    for journal in current:
        place = _place(journal, inputs.get(journal.name, ""))
        if place == journal.size:
            continue
        lines = _lines_before(journal, place)
        for line, row in read_rankings(journal.path, size=journal.size, any_columns=True):
            if line > lines and not isinstance(row, str):
                unread.add((pair_digest(row["question"], row["first"], row["second"]), row["labeller"]))
    return len(unread)


def _place(journal: Journal, version: str) -> int:
    """Where the lines begin that came after a version; 0 if the file does not begin with the lines of that version."""
    size = size_of_version(version)
    is_beginning = Journal(journal.name, journal.path, *_complete_lines(journal.path, size)).version == version
    return size if is_beginning else 0


def vote_rows(chosen: Sequence[Journal]) -> Iterator[dict[str, Any]]:
    """The rows of the table Votes: every vote of the journals, with who gave it, when, and on whose answers."""
    for journal in chosen:
        for line, row in read_rankings(journal.path, size=journal.size, any_columns=True):
            if isinstance(row, str):
                continue
            models = contestants(row)
            yield {
                "pair": pair_digest(row["question"], row["first"], row["second"]),
                "labeller": row["labeller"],
                "vote": BOTH_BAD if row.get(BOTH_BAD) is True else row["preferred"],
                "at": str(row.get("at") or ""),
                "first_model": models[0].name,
                "first_identity": models[0].identity,
                "second_model": models[1].name,
                "second_identity": models[1].identity,
                "journal": journal.name,
                "line": line,
            }


def rating_rows(chosen: Sequence[Journal]) -> list[dict[str, Any]]:
    """The rows of the table ArenaRatings: the models that the votes of the arena compare, the highest rating first."""
    voted = ((journal.path, journal.size) for journal in chosen if journal.name.startswith("arena/"))
    rows = []
    for rating in table_of(voted).ratings:
        name, _, identity = rating.model.rpartition(" ")
        rows.append({**asdict(rating), "model": name, "identity": identity})
    return rows


def _complete_lines(path: Path, size: int | None = None) -> tuple[int, str]:
    """The bytes of a file up to its last line break, and their digest. size: read no more than this many."""
    digest, read, waiting = hashlib.sha256(), 0, b""
    with _opened(path) as file:
        left = path.stat().st_size if size is None else size
        while chunk := file.read(min(CHUNK, left)):
            left -= len(chunk)
            lines, ending, waiting_after = chunk.rpartition(b"\n")
            if ending:
                digest.update(waiting + lines + ending)
                read += len(waiting) + len(lines) + 1
                waiting = waiting_after
            else:
                waiting += chunk
    return read, digest.hexdigest()[:DIGITS]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A journal that is open for reading. Raises PreferenceError if it cannot be read."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise PreferenceError(f"{path}: {error.strerror}") from error


def _lines_before(journal: Journal, place: int) -> int:
    """The lines of a journal up to a place."""
    count = 0
    with _opened(journal.path) as file:
        while place and (chunk := file.read(min(CHUNK, place))):
            count += chunk.count(b"\n")
            place -= len(chunk)
    return count
