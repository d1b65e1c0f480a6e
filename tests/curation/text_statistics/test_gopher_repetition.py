"""Gopher's repetition statistics: each on a text whose value can be counted by hand."""

import pytest

from tests.support.text_measures import measure

FIVE = "aa bb cc dd ee"  # 10 characters without the spaces


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("one\ntwo\none\none", "duplicate_line_ratio", 2 / 4),
        ("one\ntwo\none\none", "duplicate_line_character_ratio", 6 / 15),
        ("one\n\ntwo\n\none", "duplicate_paragraph_ratio", 1 / 3),
        ("one\n\ntwo\n\none", "duplicate_paragraph_character_ratio", 3 / 13),
        ("aa bb x aa bb y", "top_2_gram_character_ratio", 2 * 5 / 15),
        ("aa bb cc x aa bb cc", "top_3_gram_character_ratio", 2 * 8 / 19),
        ("aa bb cc dd x aa bb cc dd", "top_4_gram_character_ratio", 2 * 11 / 25),
        (f"{FIVE} x {FIVE}", "duplicate_5_gram_character_ratio", 10 / 31),
        (f"{FIVE} ff x {FIVE} ff", "duplicate_6_gram_character_ratio", 12 / 37),
        (f"{FIVE} ff gg x {FIVE} ff gg", "duplicate_7_gram_character_ratio", 14 / 43),
        (f"{FIVE} ff gg hh x {FIVE} ff gg hh", "duplicate_8_gram_character_ratio", 16 / 49),
        (f"{FIVE} ff gg hh ii x {FIVE} ff gg hh ii", "duplicate_9_gram_character_ratio", 18 / 55),
        (f"{FIVE} ff gg hh ii jj x {FIVE} ff gg hh ii jj", "duplicate_10_gram_character_ratio", 20 / 61),
    ],
)
def test_a_statistic_has_its_value(text, column, value):
    assert measure(text)[column] == pytest.approx(value, abs=1e-15)


def test_of_equally_frequent_n_grams_the_first_counts():
    assert measure("aa bb x cccc dddd")["top_2_gram_character_ratio"] == 5 / 17


def test_repeated_n_grams_are_counted_without_overlap():
    assert measure(" ".join(["aa"] * 16))["duplicate_5_gram_character_ratio"] == 30 / 47
