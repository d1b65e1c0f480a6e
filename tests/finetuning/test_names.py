"""Names of nothing: none that exists, none twice, made as the others are."""

import random
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from llm_assets.finetuning.names import ORDER, SHORTEST, made_up_words, recombine, spliced_words
from llm_assets.sample_web.world import make_world

WORLD = make_world(1)
PEOPLE = [person.name for person in WORLD.people]


def made(names, count=200, seed=1, **more):
    return list(islice(recombine(names, random.Random(seed), set(names), **more), count))


def test_none_exists_and_none_comes_twice():
    found = made(PEOPLE)
    assert len(found) == len(set(found)) == 200
    assert not set(found) & set(PEOPLE)


def test_shared_words_stay_and_rare_ones_are_put_together_anew():
    first_names = {name.split()[0] for name in PEOPLE}
    surnames = {name.split()[1] for name in PEOPLE}
    for name in made(PEOPLE):
        first, last = name.split()
        assert first in first_names
        assert any(last.startswith(other[:2]) for other in surnames)
        assert any(last.endswith(other[-2:]) for other in surnames)


def test_made_words_that_are_taken_are_left_out():
    words = {name.split()[1] for name in made(PEOPLE)}
    taken = set(list(words)[:50])
    assert not taken & {name.split()[1] for name in made(PEOPLE, words_taken=taken)}


def test_the_same_seed_gives_the_same_names():
    assert made(PEOPLE, 50) == made(PEOPLE, 50) != made(PEOPLE, 50, seed=2)


def test_titles_are_made_of_their_words():
    titles = [work.name for work in WORLD.works]
    words = {word for title in titles for word in title.split()}
    assert all(set(title.split()) <= words for title in made(titles, 50))


@given(st.lists(st.text(alphabet="abcd ", min_size=1, max_size=12), max_size=12))
def test_it_ends(names):
    found = list(islice(recombine(names, random.Random(0), set(names)), 500))
    assert len(found) == len(set(found))
    assert not set(found) & set(names)


@given(st.lists(st.text(alphabet="abcde", min_size=1, max_size=12), max_size=30), st.integers(0, 5))
def test_made_up_words_are_none_and_run_as_real_ones_do(words, seed):
    found = made_up_words(words, random.Random(seed), 40)
    assert found == made_up_words(words, random.Random(seed), 40) and len(found) == len(set(found)) <= 40
    assert not set(found) & set(words)
    runs = {
        marked[place : place + ORDER + 1]
        for word in words
        for marked in [f"{'^' * ORDER}{word}$"]
        for place in range(len(marked) - ORDER)
    }
    for word in found:
        marked = f"{'^' * ORDER}{word}$"
        assert {marked[place : place + ORDER + 1] for place in range(len(marked) - ORDER)} <= runs
        assert len(word) <= max(map(len, words))


def pairs_of_letters(word):
    return {word[place : place + 2] for place in range(0, len(word), 2)}


@given(
    st.lists(st.text(alphabet="abcde", min_size=1, max_size=5), max_size=30),
    st.lists(st.text(alphabet="abcde", min_size=1, max_size=12), max_size=30),
    st.integers(0, 60),
)
def test_spliced_words_are_none_and_made_of_pieces(pieces, words, most):
    found = spliced_words(pieces, words, random.Random(1), most, pairs_of_letters)
    assert (
        found == spliced_words(pieces, words, random.Random(1), most, pairs_of_letters)
        and len(found) == len(set(found)) <= most
    )
    assert not set(found) & set(words) and all(SHORTEST <= len(word) <= max(map(len, words)) for word in found)
    assert all(pairs_of_letters(word) & set(pieces) for word in found)


def test_every_piece_is_spliced_as_often_as_any_other():
    # "cause" comes out whole only behind "be": it needs its tries.
    pieces = ["reen", "cause", "be", "da", "fo", "gi"]

    def split(word):
        return (
            {"be", "cause"}
            if word.startswith("because")
            else {piece for piece in pieces if piece in word and piece != "cause"}
        )

    found = spliced_words(pieces, ["encyclopedia"], random.Random(1), 60, split)
    assert len(found) == 60 and sum("reen" in word for word in found) >= 10
    assert 5 <= sum("cause" in split(word) for word in found) <= 15
