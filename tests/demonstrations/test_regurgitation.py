"""Which pages are repeated, and what a model is asked about them."""

import numpy as np
import pytest

from llm_assets.demonstrations.excerpts import Excerpts, RepeatedPages, read_excerpts
from llm_assets.demonstrations.regurgitation_process import assign
from llm_assets.training.sequences import TrainingError
from llm_assets.training.shards import ShardWriter

REPETITIONS = (1, 4, 16)


def test_groups_and_controls_are_different_pages_and_all_others_occur_once():
    times, groups = assign(100, REPETITIONS, 5, seed=1)
    assert len(np.unique(np.concatenate(groups))) == 30
    for number, group in enumerate(groups):
        assert set(times[group]) == {0 if number % 2 else REPETITIONS[number // 2]}
    assert np.bincount(times).tolist() == [15, 75, 0, 0, 5, *[0] * 11, 5]


def test_chance_decides_which_pages_are_repeated():
    assert assign(100, REPETITIONS, 5, 1)[0].tolist() != assign(100, REPETITIONS, 5, 2)[0].tolist()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_pass_reads_each_page_as_often_as_it_should(seed):
    excerpts, times = np.arange(12).reshape(4, 3), np.array([0, 1, 2, 5])
    inputs, targets = RepeatedPages(excerpts, times, seed).batch(0, 8)
    assert np.bincount(inputs[:, 0] // 3, minlength=4).tolist() == times.tolist()
    assert (targets == inputs + 1).all()


def test_excerpts_are_read_as_a_stream():
    stream = Excerpts(np.arange(12).reshape(4, 3))
    assert stream.tokens(int(stream.starts[2]) + 1, 2).tolist() == [7, 8] and stream.lengths.tolist() == [3] * 4


@pytest.fixture
def shards(tmp_path):
    """Two pages: of the tokens 0 to 9, and of 100 to 104."""
    writer = ShardWriter(tmp_path, "train", np.uint16, 100)
    writer.append(np.array([*range(10), *range(100, 105)]), np.array([10, 5]))
    writer.close()
    return (str(tmp_path),)


def test_excerpts_begin_where_pages_do_or_at_a_drawn_place(shards):
    assert read_excerpts(shards, None, "train", 4, 2).tolist() == [[0, 1, 2, 3], [100, 101, 102, 103]]
    starts = {tuple(read_excerpts(shards, None, "train", 4, 2, seed)[:, 0].tolist()) for seed in range(200)}
    assert {first for first, _ in starts} == set(range(7)) and {second for _, second in starts} == {100, 101}


def test_too_few_pages_are_an_error_that_says_how_many_there_are(shards):
    with pytest.raises(TrainingError, match="has 1 pages of 8 tokens or more, but the demonstration needs 2"):
        read_excerpts(shards, None, "train", 8, 2)
