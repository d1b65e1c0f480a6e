"""The arena: votes on answers of two models that the voter does not know, and the models' ratings by them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm_assets.evaluation.bradley_terry import Battle, Rating, ratings

from .open_prompts import PreferenceError
from .preference_files import PREFERRED, read_rankings
from .ranking_files import ARENA, BOTH_BAD, add_ranking, ranking_files, rankings_file
from .response_pairs import pair_digest

OPEN_SECONDS = 3600.0  # for which a comparison waits for its vote
MOST_OPEN = 1_000


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
    """Comparisons that wait for their votes. Safe to call from several threads."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[float, Comparison]] = {}
        self._lock = threading.Lock()

    def add(self, comparison: Comparison) -> str:
        """A name under which the vote is given; it says nothing about the models."""
        name = secrets.token_hex(16)
        with self._lock:
            now = time.monotonic()
            self._open = {key: value for key, value in self._open.items() if now - value[0] < OPEN_SECONDS}
            while len(self._open) >= MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[name] = now, comparison
        return name

    def vote(self, name: str, vote: str, labeller: str, data: Path) -> Comparison:
        """Write the vote on a comparison, once. Raises PreferenceError if it does not wait for one."""
        path = rankings_file(data, labeller, ARENA)
        with self._lock:
            opened = self._open.pop(name, None)
        if opened is None:
            raise PreferenceError(f"no comparison {name[:40]!r} waits for a vote: it has one, or is older than an hour")
        comparison = opened[1]
        try:
            models = dict(zip(("first", "second"), map(asdict, comparison.models), strict=True))
            add_ranking(path, comparison.pair(), vote, labeller, models)
        except BaseException:
            with self._lock:  # what could not be stored can be voted on again
                self._open[name] = opened
            raise
        return comparison


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
    """The ratings of the models that people have compared."""
    battles: list[Battle] = []
    both_bad = rejects = 0
    for path in ranking_files(data, ARENA):
        for _, row in read_rankings(path):
            battle = None if isinstance(row, str) else _battle(row)
            if battle is None:
                rejects += 1
                continue
            battles.append(battle)
            both_bad += bool(row[BOTH_BAD]) if not isinstance(row, str) and BOTH_BAD in row else 0
    return ArenaTable(ratings(battles), len(battles), both_bad, rejects)


def _battle(row: Mapping[str, Any]) -> Battle | None:
    """The comparison of a row; None if it names no two models."""
    try:
        first, second = (Contestant(**row["models"][side]).label for side in ("first", "second"))
    except (KeyError, TypeError):
        return None
    return None if first == second or row["preferred"] not in PREFERRED else (first, second, row["preferred"])
