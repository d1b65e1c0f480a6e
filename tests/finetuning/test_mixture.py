"""The mixture of the user's files: how often a file's conversations are in it, and what a run says about its rows."""

import json
from collections import Counter

import polars as pl
import pytest
from pydantic import ValidationError

from llm_assets.dialogue.rejected_rows import rejects_outcome
from llm_assets.finetuning.mixture import Mixture
from llm_assets.recipes import ConversationFile, Conversations, ResponsePairs


def file_of(tmp_path, name, rows, **fields) -> ConversationFile:
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(f"{json.dumps({'prompt': f'{name} {n}?', 'completion': 'Yes.'})}\n" for n in range(rows)))
    return ConversationFile(name=name, path=str(path), **fields)


def times(mixture, name) -> list[int]:
    """How often each line of a file is in the mixture, sorted."""
    return sorted(Counter(row["line"] for row in mixture.rows if row["source"] == name).values())


@pytest.mark.parametrize(
    ("repeat", "expected"), [(None, [1] * 4), (3, [3] * 4), (2.5, [2, 2, 3, 3]), (0.5, [1, 1]), (1, [1] * 4)]
)
def test_a_file_is_repeated_as_often_as_it_says(tmp_path, repeat, expected):
    mixture = Mixture()
    counts = mixture.add_files([file_of(tmp_path, "mine", 4, repeat=repeat)], 1)
    assert times(mixture, "mine") == expected and counts == {"mine": sum(expected)}
    assert [row["conversation"] for row in mixture.rows] == list(range(len(mixture.rows)))


def test_a_share_is_a_share_of_the_whole_mixture(tmp_path):
    mixture = Mixture()
    files = [
        file_of(tmp_path, "few", 3, share=0.5),
        file_of(tmp_path, "plain", 40),
        file_of(tmp_path, "many", 500, share=0.1),
    ]
    counts = mixture.add_files(files, 1)
    assert list(counts) == ["few", "plain", "many"]
    assert counts == {"few": 50, "plain": 40, "many": 10}
    assert times(mixture, "few") == [16, 17, 17] and times(mixture, "many") == [1] * 10


def test_the_same_rows_are_drawn_each_time(tmp_path):
    file = file_of(tmp_path, "mine", 50, repeat=0.3)
    drawn = []
    for seed in (1, 1, 2):
        mixture = Mixture()
        mixture.add_files([file], seed)
        drawn.append([row["line"] for row in mixture.rows])
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 15


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file(repeat=2, share=0.1), "may have only one of them"),
        (lambda file: Conversations(evaluation_files=(file(repeat=2),)), "evaluation_files: mine has repeat or share"),
        (lambda file: ResponsePairs(files=(file(share=0.2),)), "files: mine has repeat or share"),
        (lambda file: Conversations(files=(file(share=0.5), file(name="b", share=0.5))), "add up to less than 1"),
    ],
)
def test_a_repetition_without_effect_is_an_error(make, message):
    with pytest.raises(ValidationError, match=message):
        make(lambda **fields: ConversationFile(**{"name": "mine", "path": "x.jsonl", **fields}))


def test_a_run_says_which_rows_of_a_file_are_rejected(tmp_path):
    rejects = pl.DataFrame({"file": ["mine", "mine", "other"], "line": [3, 7, 1], "reason": ["not JSON", "x", "y"]})
    rejects.write_parquet(tmp_path / "rejects.parquet")
    outcome = rejects_outcome({"mine": 12}, [tmp_path / "rejects.parquet"], "conversations")
    assert outcome.summary == "mine: 12 conversations; mine: 2 rows rejected, the first in row 3: not JSON"
    assert not outcome.passed and outcome.numbers == {"used": 12, "rejected": 2}
    assert rejects_outcome({"mine": 12}, [], "rankings").passed and rejects_outcome({}, [], "rankings").passed
