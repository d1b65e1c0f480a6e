"""FineWeb's statistics, on the edited text: each on a text whose value can be counted by hand."""

import pytest

from tests.support.text_measures import measure

LONG = "A line with quite a lot of words, more than thirty characters."


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("A line ends here.\nThis one does not", "terminal_line_ratio", 1 / 2),
        (f"{LONG}\nA short line here.", "short_line_ratio", 1 / 2),
        ("One line here.\nOne line here.", "edited_duplicate_line_character_ratio", 14 / 28),
        ("Three words here\nThree words here\nThree words here", "newline_ratio", 2 / 9),
        ("Two words.\nA line to keep.", "edited_characters", len("A line to keep.")),
    ],
)
def test_a_statistic_has_its_value(text, column, value):
    assert measure(text)[column] == value


def test_the_recipe_sets_what_is_short_and_what_ends_a_line():
    assert measure(LONG, short_line_length=100)["short_line_ratio"] == 1
    japanese = "これは 日本語の 文です。"
    assert measure(japanese)["terminal_line_ratio"] == 0
    assert measure(japanese, terminal_punctuation="unicode")["terminal_line_ratio"] == 1


def test_words_are_split_again_where_a_citation_was_removed():
    assert measure("One more word[1]here\nand another line")["newline_ratio"] == 1 / 6
