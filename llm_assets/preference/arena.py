"""The arena: votes on answers of two models that the voter does not know, and the models' ratings by them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm_assets.evaluation.bradley_terry import Battle, Rating, ratings

from .open_prompts import PreferenceError
from .preference_files import read_rankings
from .ranking_files import ARENA, BOTH_BAD, add_ranking, ranking_files, rankings_file
from .response_pairs import pair_digest

OPEN_SECONDS = 3600.0  # for which a comparison waits for its vote
MOST_OPEN = 1_000


class AlreadyVoted(PreferenceError):
    """A comparison that has its vote."""


@dataclass(frozen=True)
class Contestant:
    """A model: its name, and the identity of its artifact (of a folder, the digest of its weights)."""

    name: str
    identity: str

    @property
    def label(self) -> str:
        return f"{self.name} {self.identity}"


@dataclass(frozen=True)
class Comparison:
    """A question and two answers, whose models the voter learns after the vote."""

    question: str
    first: str
    second: str
    models: tuple[Contestant, Contestant]

    def pair(self) -> dict[str, str]:
        """As a pair to rank."""
        digest = pair_digest(self.question, self.first, self.second)
        return {"pair": digest, "question": self.question, "subject": "", "first": self.first, "second": self.second}


class OpenComparisons:
    """Comparisons that wait for their votes. Safe to call from several threads.

    folder: in which votes are stored, ARENA or RANKINGS.
    """

    def __init__(self, folder: str = ARENA) -> None:
        self.folder = folder
        self._open: dict[str, tuple[float, Comparison]] = {}
        self._voted: dict[str, float] = {}  # when each was opened
        self._lock = threading.Lock()

    def add(self, comparison: Comparison) -> str:
        """A name under which the vote is given; it says nothing about the models."""
        name = secrets.token_hex(16)
        with self._lock:
            now = time.monotonic()
            self._open = {key: value for key, value in self._open.items() if now - value[0] < OPEN_SECONDS}
            self._voted = {key: since for key, since in self._voted.items() if now - since < OPEN_SECONDS}
            while len(self._open) >= MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[name] = now, comparison
        return name

    def vote(self, name: str, vote: str, labeller: str, data: Path) -> tuple[Comparison, dict[str, Any]]:
        """Write the vote on a comparison, once; returns it and the line.

        Raises AlreadyVoted, and PreferenceError if the comparison does not exist or is older than an hour.
        """
        path = rankings_file(data, labeller, self.folder)
        with self._lock:
            if name in self._voted:
                raise AlreadyVoted(f"the comparison {name[:40]!r} has its vote already")
            opened = self._open.pop(name, None)
            if opened is None:
                raise PreferenceError(f"no comparison {name[:40]!r} waits for a vote, or it is older than an hour")
            self._voted[name] = opened[0]
        comparison = opened[1]
        try:
            models = dict(zip(("first", "second"), map(asdict, comparison.models), strict=True))
            row = add_ranking(path, comparison.pair(), vote, labeller, models)
        except BaseException:
            with self._lock:  # what could not be stored can be voted on again
                self._open[name] = opened
                del self._voted[name]
            raise
        return comparison, row


@dataclass(frozen=True)
class ArenaTable:
    """Ratings by all votes. both_bad: votes that neither answer is good, which count as ties. rejects: lines of the
    files that are no votes.
    """

    ratings: list[Rating]
    votes: int
    both_bad: int
    rejects: int


def arena_table(data: Path) -> ArenaTable:
    """The ratings of the models that people have compared, by all votes of a data folder."""
    return table_of((path, None) for path in ranking_files(data, ARENA))


def table_of(files: Iterable[tuple[Path, int | None]]) -> ArenaTable:
    """The ratings by the votes of files, each with the number of its bytes that count; None counts all."""
    battles: list[Battle] = []
    both_bad = rejects = 0
    for path, size in files:
        for _, row in read_rankings(path, size=size, any_columns=True):
            battle = None if isinstance(row, str) else _battle(row)
            if battle is None:
                rejects += 1
                continue
            battles.append(battle)
            both_bad += bool(row[BOTH_BAD]) if not isinstance(row, str) and BOTH_BAD in row else 0
    return ArenaTable(ratings(battles), len(battles), both_bad, rejects)


def contestants(row: Mapping[str, Any]) -> tuple[Contestant, Contestant]:
    """The models that gave the answers of a vote. Name and identity are empty where the row has none."""
    models = row.get("models")
    sides = [models.get(side) if isinstance(models, Mapping) else None for side in ("first", "second")]
    named = [side if isinstance(side, Mapping) else {} for side in sides]
    first, second = (Contestant(*(str(side.get(name) or "") for name in ("name", "identity"))) for side in named)
    return first, second


def _battle(row: Mapping[str, Any]) -> Battle | None:
    """The comparison of a row; None if it names no two models."""
    first, second = contestants(row)
    if not (first.name and first.identity and second.name and second.identity) or first == second:
        return None
    return first.label, second.label, row["preferred"]
