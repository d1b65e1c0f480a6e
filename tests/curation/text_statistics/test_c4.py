"""C4's statistics: each on a text whose value can be counted by hand."""

import pytest

from tests.support.text_measures import measure


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("A line with lorem ipsum in it.", "lorem_ipsum", 1),
        ("A line with LOREM IPSUM in it.", "lorem_ipsum", 1),
        ("A line with lorem and ipsum in it.", "lorem_ipsum", 0),
        ("A line with a { in it.", "curly_bracket", 1),
        ("A line with a { and Javascript in it.", "curly_bracket", 0),
        ("One sentence here. Another one here.\nAnd a third one", "sentences", 3),
        ("Two words.\nPlease enable javascript now.\nA line that stays.", "removed_lines", 2),
    ],
)
def test_a_statistic_has_its_value(text, column, value):
    assert measure(text)[column] == value


def test_the_recipe_sets_which_lines_are_removed():
    text = "Two words.\nA line with extraordinarily long words."
    assert measure(text, min_words_per_line=0)["removed_lines"] == 0
    assert measure(text, max_word_length=10)["removed_lines"] == 2
    assert measure(text, max_word_length=0)["removed_lines"] == 1
