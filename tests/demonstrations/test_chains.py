"""Pointer chasing and running sums."""

import random

import pytest

from llm_assets.demonstrations.chains import DIRECT, DOTS, POINTERS, STEPS, SUMS, draw_chain
from llm_assets.dialogue.splits import TEST, TRAIN, split_of


def chains(task, hops, split=TEST, count=20):
    rng = random.Random(1)
    return [draw_chain(rng, task, hops, 12, split) for _ in range(count)]


@pytest.mark.parametrize("hops", [1, 3, 8])
def test_the_answer_of_pointers_is_where_they_lead(hops):
    for chain in chains(POINTERS, hops):
        follows = {pair[0]: pair[1] for pair in chain.given.split("|")[0].split(";")}
        place = chain.start
        for _ in range(hops):
            place = follows[place]
        assert chain.answer == place != chain.start and len(follows) == 12


@pytest.mark.parametrize("hops", [1, 3, 8])
def test_the_answer_of_a_sum_is_its_last_digit(hops):
    for chain in chains(SUMS, hops):
        assert int(chain.answer) == sum(map(int, chain.given[1::2])) % 10


def test_all_styles_ask_the_same_problem_and_end_with_the_answer():
    for chain in chains(SUMS, 3) + chains(POINTERS, 3):
        assert {chain.completion(style)[-1] for style in (DIRECT, STEPS, DOTS)} == {chain.answer}
        assert len(chain.completion(DOTS)) == len(chain.completion(STEPS)) and set(chain.completion(DOTS)[:-1]) == {"."}
        assert len({chain.prompt(style) for style in (DIRECT, STEPS, DOTS)}) == 3


@pytest.mark.parametrize("split", [TRAIN, TEST])
def test_a_problems_text_decides_whether_it_is_held_out(split):
    for chain in chains(POINTERS, 2, split) + chains(SUMS, 3, split):
        assert split_of(chain.given + chain.start) == split
