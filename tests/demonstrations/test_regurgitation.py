"""Which pages are repeated, and what a model is asked about them."""

import numpy as np
import pytest

from llm_assets.demonstrations.excerpts import Excerpts, RepeatedPages
from llm_assets.demonstrations.regurgitation_process import assign

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
