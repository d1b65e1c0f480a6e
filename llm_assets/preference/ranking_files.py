"""Files of rankings by people: a line is added for each vote, and is on the disk before the vote is acknowledged."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_assets.artifacts import Artifact, Store
from llm_assets.artifacts.record import fsync_path, write_atomic
from llm_assets.artifacts.tables import read_table
from llm_assets.dialogue.splits import stable_share

from .open_prompts import PreferenceError
from .policy import POLICY, SUBSTITUTES
from .preference_files import read_rankings
from .response_pairs import pair_digest

RANKINGS, ARENA = "rankings", "rankings/arena"  # folders below the data folder
ADVERSARIAL = "rlhf_checkpoint"  # the stage with the pairs that misled the reward model
BOTH_BAD = "both_bad"  # a vote; stored as a tie with the field `both_bad`, since neither answer is preferred
VOTES = ("first", "second", "tie", BOTH_BAD)
LABELLER = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"  # a labeller's name that is the name of a file
HELD_SECONDS = 600.0  # for which a pair that was given to one labeller is not given to another
AGAIN = 0.2  # share of the pairs that every labeller ranks, so that their agreement can be measured

Pair = Mapping[str, Any]


def rankings_file(data: Path, labeller: str, folder: str = RANKINGS) -> Path:
    """Where a labeller's rankings are stored. Raises PreferenceError for a name that is none of a file.

    folder: RANKINGS, or ARENA for votes on answers of two models.
    """
    if not re.fullmatch(LABELLER, labeller):
        raise PreferenceError(f"labeller {labeller[:80]!r}: use letters, digits, '_', '-' and '.', at most 64")
    return data / folder / f"{labeller}.jsonl"


def stage_of_pairs(adversarial: bool) -> str:
    """The stage of the pairs: of the policy's answers, or of those that misled the reward model."""
    return ADVERSARIAL if adversarial else "response_pairs"


def pairs_of(artifact: Artifact) -> list[dict[str, Any]]:
    """The pairs to rank of an artifact of one of these two stages."""
    files = artifact.table("adversarial" if artifact.record.asset == ADVERSARIAL else "pairs")
    return read_table(files).to_dicts() if files else []


def models_of_pairs(store: Store, artifact: Artifact) -> dict[str, dict[str, str]]:
    """Name and identity of the models of the `first` and the `second` answers of an artifact's pairs.

    Pairs are two answers of the policy that the artifact was built from; adversarial ones are an answer of the tuned
    model, and one of the policy.
    """
    inputs = dict(artifact.record.inputs)
    asset = POLICY if POLICY in inputs else SUBSTITUTES[POLICY]
    policies = (item for item in store.artifacts(asset) if item.data_version == inputs.get(asset))
    policy = next(map(_named, policies), {"name": "policy", "identity": ""})  # it may have been purged
    tuned = _named(artifact) if artifact.record.asset == ADVERSARIAL else policy
    return {"first": tuned, "second": policy}


def _named(artifact: Artifact) -> dict[str, str]:
    return {"name": artifact.record.asset, "identity": artifact.record.short_id}


def ranked_by(path: Path, labeller: str) -> set[str]:
    """The pairs in a file that the labeller has ranked."""
    rows = [row for _, row in read_rankings(path, any_columns=True)] if path.exists() else []
    return {
        pair_digest(row["question"], row["first"], row["second"])
        for row in rows
        if not isinstance(row, str) and row["labeller"] == labeller
    }


def in_order(pairs: Iterable[Pair], seed: int) -> list[Pair]:
    """Pairs in an order that depends on nothing but the seed."""
    ordered = sorted(pairs, key=lambda pair: str(pair["pair"]))
    random.Random(f"rank-{seed}").shuffle(ordered)
    return ordered


def ranking_row(pair: Pair, vote: str, labeller: str, models: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A line of a file of rankings: a row that `human_rankings` reads, with what else is known of the vote.

    models: name and identity of the models that gave the `first` and the `second` answer.
    """
    if vote not in VOTES:
        raise PreferenceError(f"a vote is one of {', '.join(VOTES)}, not {vote!r}")
    return {
        **{name: pair.get(name, "") for name in ("question", "subject", "first", "second")},
        "preferred": "tie" if vote == BOTH_BAD else vote,
        **({BOTH_BAD: True} if vote == BOTH_BAD else {}),
        "labeller": labeller,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"models": dict(models)} if models else {}),
    }


def add_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row to a file; it is on the disk when this returns.

    Several processes may append to one file. A line that a killed process left without its end is completed first, so
    that it is one rejected row and not a part of this one.
    """
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    line = f"{json.dumps(row, ensure_ascii=False)}\n".encode()
    with _locked(path) as file:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line
        while line:  # a disk that is nearly full takes a part of a line
            line = line[os.write(file, line) :]
        os.fsync(file)
    if is_new:
        fsync_path(path.parent)


def replace_lines(path: Path, remaining: Callable[[list[bytes]], list[bytes]]) -> int:
    """Keep some of a file's lines; returns how many were removed. No line is lost that is appended meanwhile."""
    with _locked(path):
        lines = path.read_bytes().splitlines(keepends=True)
        chosen = remaining(lines)
        if len(chosen) < len(lines):
            write_atomic(path, b"".join(chosen))
    return len(lines) - len(chosen)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """A file that is open for appending, and locked; it is created if it does not exist."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                yield file
                return
        finally:  # `replace_lines` has put another file in its place while this one was waited for
            os.close(file)


def add_ranking(
    path: Path, pair: Pair, vote: str, labeller: str, models: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Append a vote on a pair; returns the line. See `ranking_row` and `add_line`."""
    row = ranking_row(pair, vote, labeller, models)
    add_line(path, row)
    return row


@dataclass
class PairQueue:
    """Gives pairs to people who rank at the same time. Safe to call from several threads.

    Everybody goes through the same order. A pair that somebody else holds, or has ranked, comes later, except for the
    share AGAIN, which everybody ranks as soon as nobody else holds it.
    """

    pairs: Sequence[Pair]
    folder: Path
    seed: int = 0
    _held: dict[str, tuple[str, float]] = field(default_factory=dict)
    _given: dict[str, set[str]] = field(default_factory=dict)
    _skipped: dict[str, set[str]] = field(default_factory=dict)
    _ranked: dict[str, tuple[tuple[int, int], set[str]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.pairs = in_order(self.pairs, self.seed)
        self.by_id = {str(pair["pair"]): pair for pair in self.pairs}

    def next(self, labeller: str, skipped: str | None = None) -> tuple[Pair | None, int, int]:
        """The pair that this labeller ranks next, None at the end, and how many are left for them, and ranked by them.

        skipped: a pair that the labeller does not want to rank; it does not come again.
        """
        path = rankings_file(self.folder, labeller)
        with self._lock:
            if skipped in self.by_id:
                self._skipped.setdefault(labeller, set()).add(skipped)
            now = time.monotonic()
            self._held = {
                pair: (holder, since)
                for pair, (holder, since) in self._held.items()
                if holder != labeller and now - since < HELD_SECONDS
            }
            ranked = self._ranked_by_all()
            ranked_here = ranked.get(path.stem, set()) & self.by_id.keys()
            done = ranked_here | self._skipped.get(labeller, set())
            others = set().union(*(pairs for name, pairs in ranked.items() if name != path.stem))
            left = [pair for pair in self.pairs if pair["pair"] not in done]
            ready = [pair for pair in left if pair["pair"] not in self._held] or left
            fresh = (pair for pair in ready if pair["pair"] not in others or self._is_shared(pair))
            chosen = next(fresh, None) or next(iter(ready), None)
            if chosen is not None:
                self._held[str(chosen["pair"])] = (labeller, now)
                self._given.setdefault(labeller, set()).add(str(chosen["pair"]))
            return chosen, len(left), len(ranked_here)

    def is_held_from(self, labeller: str, pair: str) -> bool:
        """Whether somebody else holds a pair that was never given to this labeller."""
        with self._lock:
            holder, since = self._held.get(pair, (labeller, 0.0))
            is_held = holder != labeller and time.monotonic() - since < HELD_SECONDS
            return is_held and pair not in self._given.get(labeller, ())

    def _is_shared(self, pair: Pair) -> bool:
        return stable_share("ranked again", str(self.seed), str(pair["pair"])) < AGAIN

    def _ranked_by_all(self) -> dict[str, set[str]]:
        """The pairs that each file holds. Files are read again only when they have changed."""
        ranked: dict[str, set[str]] = {}
        for path in ranking_files(self.folder):
            stat = path.stat()
            stamp = (stat.st_size, stat.st_mtime_ns)
            known = self._ranked.get(path.stem)
            if known is None or known[0] != stamp:
                known = self._ranked[path.stem] = (stamp, ranked_by(path, path.stem))
            ranked[path.stem] = known[1]
        return ranked


def ranking_files(data: Path, folder: str = RANKINGS) -> list[Path]:
    """The files of all labellers."""
    return sorted(path for path in (data / folder).glob("*.jsonl") if path.is_file())
