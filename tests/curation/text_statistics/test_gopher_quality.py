"""Gopher's quality statistics: each on a text whose value can be counted by hand."""

import pytest

from tests.support.text_measures import measure


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("four words are here", "characters", 19),
        ("four words are here", "words", 4),
        ("two words !", "non_symbol_words", 2),
        ("a bcd !", "mean_word_length", 2),
        ("# one two # three", "hash_ratio", 2 / 5),
        ("one… two three …", "ellipsis_ratio", 2 / 4),
        ("one 22 3", "alpha_word_ratio", 1 / 3),
        ("the cat and the dog", "stop_words", 2),
        ("- one\n• two\nthree\nfour", "bullet_line_ratio", 2 / 4),
        ("one…\ntwo...\nthree\nfour", "ellipsis_line_ratio", 2 / 4),
    ],
)
def test_a_statistic_has_its_value(text, column, value):
    assert measure(text)[column] == value


def test_stop_words_are_those_of_the_recipe():
    assert measure("der Hund und die Katze", stop_words=("der", "die", "und"))["stop_words"] == 3


def test_an_empty_text_has_zeros():
    assert set(measure("").values()) == {0.0}
