"""Invented names and words are new, all different, and made of pieces of real ones."""

import random
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from llm_assets.finetuning.names import MIN_SPLICED_LETTERS, ORDER, made_up_words, recombine, spliced_words
from llm_assets.sample_web.world import make_world

WORLD = make_world(1)
PEOPLE = [person.name for person in WORLD.people]


def new_names(names, count=200, seed=1, **options):
    return list(islice(recombine(names, random.Random(seed), set(names), **options), count))


def test_names_are_new_and_all_different():
    names = new_names(PEOPLE)
    assert len(names) == len(set(names)) == 200
    assert not set(names) & set(PEOPLE)


def test_shared_words_stay_whole_and_rare_ones_are_recombined():
    first_names = {name.split()[0] for name in PEOPLE}
    surnames = {name.split()[1] for name in PEOPLE}
    for name in new_names(PEOPLE):
        first, last = name.split()
        assert first in first_names
        assert any(last.startswith(surname[:2]) for surname in surnames)
        assert any(last.endswith(surname[-2:]) for surname in surnames)


def test_new_words_that_are_taken_are_left_out():
    words = {name.split()[1] for name in new_names(PEOPLE)}
    taken = set(list(words)[:50])
    assert not taken & {name.split()[1] for name in new_names(PEOPLE, words_taken=taken)}


def test_the_same_seed_gives_the_same_names():
    assert new_names(PEOPLE, 50) == new_names(PEOPLE, 50) != new_names(PEOPLE, 50, seed=2)


def test_new_titles_are_made_of_words_of_titles():
    titles = [work.name for work in WORLD.works]
    words = {word for title in titles for word in title.split()}
    assert all(set(title.split()) <= words for title in new_names(titles, 50))


@given(st.lists(st.text(alphabet="abcd ", min_size=1, max_size=12), max_size=12))
def test_recombination_ends(names):
    recombined = list(islice(recombine(names, random.Random(0), set(names)), 500))
    assert len(recombined) == len(set(recombined))
    assert not set(recombined) & set(names)


def letter_runs(word):
    """The runs of ORDER letters and the one after them, with the word's beginning and end marked."""
    marked = f"{'^' * ORDER}{word}$"
    return {marked[place : place + ORDER + 1] for place in range(len(marked) - ORDER)}


@given(st.lists(st.text(alphabet="abcde", min_size=1, max_size=12), max_size=30), st.integers(0, 5))
def test_made_up_words_are_new_and_have_the_letter_runs_of_real_ones(words, seed):
    made_up = made_up_words(words, random.Random(seed), 40)
    assert made_up == made_up_words(words, random.Random(seed), 40) and len(made_up) == len(set(made_up)) <= 40
    assert not set(made_up) & set(words)
    real_runs = {run for word in words for run in letter_runs(word)}
    for word in made_up:
        assert letter_runs(word) <= real_runs
        assert len(word) <= max(map(len, words))


def pairs_of_letters(word):
    return {word[place : place + 2] for place in range(0, len(word), 2)}


@given(
    st.lists(st.text(alphabet="abcde", min_size=1, max_size=5), max_size=30),
    st.lists(st.text(alphabet="abcde", min_size=1, max_size=12), max_size=30),
    st.integers(0, 60),
)
def test_spliced_words_are_new_and_made_of_pieces(pieces, words, count):
    spliced = spliced_words(pieces, words, random.Random(1), count, pairs_of_letters)
    assert spliced == spliced_words(pieces, words, random.Random(1), count, pairs_of_letters)
    assert len(spliced) == len(set(spliced)) <= count
    assert not set(spliced) & set(words)
    assert all(MIN_SPLICED_LETTERS <= len(word) <= max(map(len, words)) for word in spliced)
    assert all(pairs_of_letters(word) & set(pieces) for word in spliced)


def test_every_piece_is_spliced_as_often_as_any_other():
    # "cause" stays whole only after "be", so it needs several tries.
    pieces = ["reen", "cause", "be", "da", "fo", "gi"]

    def split(word):
        if word.startswith("because"):
            return {"be", "cause"}
        return {piece for piece in pieces if piece in word and piece != "cause"}

    spliced = spliced_words(pieces, ["encyclopedia"], random.Random(1), 60, split)
    assert len(spliced) == 60 and sum("reen" in word for word in spliced) >= 10
    assert 5 <= sum("cause" in split(word) for word in spliced) <= 15
