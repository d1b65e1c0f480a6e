"""One function decides by a key's text between training, development and test, and wordings follow it."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.dialogue import wordings
from llm_assets.dialogue.guidelines import read_guidelines
from llm_assets.dialogue.splits import (
    EXAMPLES,
    HELD_OUT,
    SPLITS,
    TRAIN,
    calculation_split,
    held_out_split_of,
    split_of,
    strictest,
)
from llm_assets.dialogue.wordings import Wordings
from llm_assets.finetuning.skill_exchanges import worked_difference, worked_sum
from llm_assets.sample_web.lessons import spelling_sentence, sum_sentence

LISTS = {name: value for name, value in vars(wordings).items() if isinstance(value, Wordings)}


def test_seventy_per_cent_of_the_keys_are_for_training_and_the_rest_is_halved():
    counts = [[split_of(f"key {number}") for number in range(4000)].count(split) / 4000 for split in SPLITS]
    assert counts == pytest.approx([0.7, 0.15, 0.15], abs=0.02)
    never_trained = [held_out_split_of(f"key {number}") for number in range(4000)]
    assert never_trained.count("test") / 4000 == pytest.approx(0.5, abs=0.03)


@given(st.text(min_size=1))
def test_a_key_held_out_of_training_has_one_split_however_it_is_asked_for(key):
    assert split_of(key) in (TRAIN, held_out_split_of(key))
    assert held_out_split_of(key) in HELD_OUT


@pytest.mark.parametrize("key", [*EXAMPLES, "Strawberry", "Orson Kovats"])
def test_the_examples_by_which_people_try_a_model_belong_to_the_test(key):
    assert split_of(key) == held_out_split_of(key) == "test"


@pytest.mark.parametrize("key", ["Mira Wolf", "strawberry", "The Quiet Harbour"])
def test_case_and_white_space_of_a_key_do_not_matter(key):
    assert split_of(f"  {key.upper().replace(' ', '   ')} ") == split_of(key)


@given(st.lists(st.sampled_from(SPLITS), min_size=1))
def test_what_touches_a_test_key_belongs_to_the_test(splits):
    expected = "test" if "test" in splits else "development" if "development" in splits else "train"
    assert strictest(splits) == expected


@given(st.lists(st.integers(0, 99), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_a_sum_has_one_split_in_any_order_of_its_numbers(numbers, rng):
    shuffled = rng.sample(numbers, len(numbers))
    assert calculation_split(" + ".join(map(str, numbers))) == calculation_split(" + ".join(map(str, shuffled)))


@given(st.integers(1, 99), st.integers(1, 99))
def test_the_steps_of_a_worked_calculation_are_for_training(a, b):
    """Otherwise the worked solution of a calculation of the training would hold the answer to one of the test."""
    low, high = sorted((a, b))
    steps = f"{worked_sum(a, b).rpartition('. ')[0]}, {worked_difference(high, low).rpartition('. ')[0]}"
    for expression in re.findall(r"\d+ [+-] \d+(?= =)", steps):
        assert calculation_split(expression) == "train"


def test_calculations_are_in_every_split():
    for sign in "+-":
        splits = [calculation_split(f"{a} {sign} {b}") for a in range(11, 99) for b in range(11, a + 1)]
        assert set(splits) == set(SPLITS) and splits.count("train") / len(splits) == pytest.approx(0.73, abs=0.03)


@pytest.mark.parametrize("name", LISTS)
def test_every_list_of_wordings_has_some_for_each_split_and_none_for_two(name):
    by_split = [set(LISTS[name].of(split)) for split in SPLITS]
    assert all(by_split) and sum(map(len, by_split)) == len(set().union(*by_split))


def test_no_wording_is_trained_in_one_list_and_held_out_in_another():
    """`{a} + {b}` in the wordings of conversations is an expression `{e}` in those of problems."""

    def as_expressions(texts):
        return {text.replace("{a} + {b}", "{e}").replace("{a} - {b}", "{e}") for text in texts}

    of_split = {split: [text for each in LISTS.values() for text in each.of(split)] for split in SPLITS}
    trained, development, test = (as_expressions(of_split[split]) for split in SPLITS)
    assert not trained & (development | test) and not development & test


def test_the_parts_of_the_guidelines_that_are_asked_have_questions_of_both_held_out_splits():
    for guideline in read_guidelines(None).values():
        if guideline.questions:
            assert {held_out_split_of(question) for question in guideline.held_out_questions} == set(HELD_OUT)


def test_lessons_of_pages_solve_only_what_is_for_training():
    """A page that spells a word or works out a sum of the test would give its answer away."""
    words = ["balloon", "garden", "kitten", "letter", "river", "school", "banana"]
    assert {split_of(word) for word in words} == set(SPLITS)
    rng, held_out = random.Random(1), [word for word in words if split_of(word) != TRAIN]
    for _ in range(300):
        sentence = spelling_sentence(rng, words)
        assert not any("-".join(word) in sentence or " ".join(word) in sentence for word in held_out)
    sums = " ".join(sum_sentence(rng) for _ in range(300))
    pairs = [(a, b) for a in range(1, 100) for b in range(1, 100)]
    held_out_sums = [(a, b) for a, b in pairs if calculation_split(f"{a} + {b}") != TRAIN]
    assert not [(a, b) for a, b in held_out_sums if f" {a} + {b} =" in sums or f"What is {a} plus {b}?" in sums]
