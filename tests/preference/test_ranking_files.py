"""Votes are on the disk before they are acknowledged, and people who rank at once share the pairs."""

import json
import os
import signal
import time

import pytest

from llm_assets.preference import ranking_files
from llm_assets.preference.arena import ARENA, AlreadyVoted, Comparison, Contestant, OpenComparisons, arena_table
from llm_assets.preference.open_prompts import PreferenceError
from llm_assets.preference.preference_files import read_rankings
from llm_assets.preference.ranking_files import PairQueue, add_line, add_ranking, rankings_file
from llm_assets.preference.response_pairs import pair_digest

TEXTS = [(f"Who is {n}?", f"A{n}.", f"B{n}.") for n in range(40)]
PAIRS = [
    {"pair": pair_digest(*texts), **dict(zip(("question", "first", "second"), texts, strict=True))} for texts in TEXTS
]


def keep_writing(path, acknowledged, name):
    """Append votes until the process is killed, and report each once it is stored."""
    for number in range(100_000):
        add_line(path, {**PAIRS[0], "question": f"{name}-{number} " + "x" * 200, "preferred": "tie", "labeller": name})
        os.write(acknowledged, f"{name}-{number}\n".encode())


def test_no_acknowledged_vote_is_lost_when_writers_are_killed(tmp_path):
    path, (reading, writing) = tmp_path / "rankings" / "all.jsonl", os.pipe()
    for _ in range(3):  # the next writers append after lines that were cut off
        writers, size = [], path.stat().st_size if path.exists() else 0
        for name in ("ann", "bob"):
            if (pid := os.fork()) == 0:
                try:
                    keep_writing(path, writing, f"{name}{len(writers)}{time.monotonic_ns()}")
                finally:
                    os._exit(1)
            writers.append(pid)
        while not path.exists() or path.stat().st_size < size + 5_000:  # some ten votes
            time.sleep(0.01)
        time.sleep(0.1)
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        with path.open("ab") as stream:
            stream.write(b'{"question": "cut o')
    os.close(writing)
    with os.fdopen(reading) as stream:
        acknowledged = set(stream.read().split())
    rows = [row for _, row in read_rankings(path)]
    stored = {row["question"].split()[0] for row in rows if not isinstance(row, str)}
    assert len(acknowledged) > 10 and acknowledged <= stored
    assert sum(isinstance(row, str) for row in rows) == 3  # those that were cut off, each a reject of its own


def test_a_full_disk_acknowledges_nothing(tmp_path, monkeypatch):
    comparison = Comparison("Who?", "Ann.", "Bob.", (Contestant("one", "1"), Contestant("two", "2")))
    opened = OpenComparisons()
    name = opened.add(comparison)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            opened.vote(name, "first", "ann", tmp_path)
    assert arena_table(tmp_path).votes == 0
    opened.vote(name, "first", "ann", tmp_path)  # it can be given again
    assert arena_table(tmp_path).votes == 1
    with pytest.raises(AlreadyVoted, match="has its vote already"):
        opened.vote(name, "first", "ann", tmp_path)


def test_everybody_goes_through_one_order_without_holding_up_others(tmp_path):
    queue = PairQueue(PAIRS, tmp_path)
    first, left, _ = queue.next("ann")
    assert left == len(PAIRS) and queue.next("ann")[0] == first  # until it is ranked
    second, *_ = queue.next("bob")
    assert second != first
    add_ranking(rankings_file(tmp_path, "ann"), first, "tie", "ann")
    third, left, _ = queue.next("ann")
    assert third["pair"] not in (first["pair"], second["pair"]) and left == len(PAIRS) - 1
    skipped, left, ranked = queue.next("ann", skipped=third["pair"])
    assert skipped["pair"] != third["pair"] and left == len(PAIRS) - 2 and ranked == 1
    assert queue.next("ann", skipped="no pair")[1:] == (left, ranked) and "no pair" not in queue._skipped["ann"]


def test_a_pair_that_somebody_else_holds_is_theirs(tmp_path, monkeypatch):
    queue = PairQueue(PAIRS[:1], tmp_path)
    given = queue.next("ann")[0]["pair"]
    assert not queue.is_held_from("ann", given) and queue.is_held_from("bob", given)
    assert queue.next("bob")[0]["pair"] == given  # there is no other: both rank it
    assert not queue.is_held_from("ann", given) and not queue.is_held_from("bob", given)
    assert queue.is_held_from("con", given) and not queue.is_held_from("con", "no pair")
    monkeypatch.setattr(ranking_files, "HELD_SECONDS", 0.0)
    assert not queue.is_held_from("con", given)


def test_one_ranks_what_nobody_has_ranked_before_what_others_have(tmp_path):
    queue = PairQueue(PAIRS, tmp_path)
    ann = []
    for _ in range(20):
        pair, *_ = queue.next("ann")
        ann.append(pair["pair"])
        add_ranking(rankings_file(tmp_path, "ann"), pair, "first", "ann")
    bob = []
    for _ in PAIRS:
        pair, *_ = queue.next("bob")
        bob.append(pair["pair"])
        add_ranking(rankings_file(tmp_path, "bob"), pair, "second", "bob")
    assert len(set(bob)) == len(PAIRS) and queue.next("bob") == (None, 0, len(PAIRS))
    shared = [pair for pair in bob[:24] if pair in ann]
    assert 0 < len(shared) < 12 and set(bob[-10:]) <= set(ann)


def test_the_arena_counts_votes_and_rejects(tmp_path):
    path = rankings_file(tmp_path, "ann", ARENA)
    models = {"first": {"name": "one", "identity": "1"}, "second": {"name": "two", "identity": "2"}}
    for vote in ("first", "first", "tie", "both_bad"):
        add_ranking(path, PAIRS[0], vote, "ann", models)
    add_ranking(path, PAIRS[1], "first", "ann")  # names no models
    with path.open("a") as stream:
        stream.write(json.dumps({"question": "no vote"}) + "\n")
    table = arena_table(tmp_path)
    assert (table.votes, table.both_bad, table.rejects) == (4, 1, 2)
    assert [(row.model, row.wins, row.losses, row.ties) for row in table.ratings] == [
        ("one 1", 2, 0, 2),
        ("two 2", 0, 2, 2),
    ]


@pytest.mark.parametrize("name", ["../ann", "", ".ann", "a b", "ann/../bob", "x" * 65])
def test_names_that_are_no_files(tmp_path, name):
    with pytest.raises(PreferenceError, match="labeller"):
        rankings_file(tmp_path, name)
