"""The tour's text fits its columns, whatever the script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.tour import STEPS, TourError, find_step
from llm_assets.tour.layout import COLUMNS, labelled, rows, visible, width, wrapped

WORDS = st.lists(st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=150), max_size=40)


@given(WORDS, st.sampled_from(["", "  ", "  | "]))
def test_no_line_is_wider_than_the_page_and_no_character_is_lost(words, first):
    text = " ".join(words)
    lines = wrapped(text, first)
    assert all(width(line) <= COLUMNS for line in lines)
    shown = "".join(line[len(first) if number == 0 else 0 :] for number, line in enumerate(lines))
    assert "".join(shown.split()) == "".join(text.split())


def test_east_asian_characters_take_two_columns():
    assert width("바다") == 4 and max(map(width, wrapped("바다 " * 60))) <= COLUMNS


def test_line_breaks_are_kept_and_further_lines_are_indented():
    assert wrapped("a\nb", "x: ") == ["x: a", "   b"]
    assert wrapped("a\nb", "| ", "| ") == ["| a", "| b"]


def test_a_label_keeps_its_column():
    first, second = labelled("Human", " ".join(["word"] * 30))
    assert first.startswith("  Human           word") and second.startswith(" " * 18 + "word")


def test_the_cells_of_a_table_are_aligned():
    assert rows([("a", "1"), ("나비", "2")]) == ["  a     1", "  나비  2"]


def test_white_space_is_made_visible():
    assert visible("a\n\tb") == "a⏎⇥b"


def test_steps_are_found_by_number_and_by_name():
    assert [find_step(step.name) for step in STEPS] == list(range(len(STEPS)))
    assert find_step("1") == 0
    for name in ("0", str(len(STEPS) + 1), "nothing"):
        with pytest.raises(TourError, match="there are 1 to"):
            find_step(name)


def test_every_step_says_in_a_few_sentences_what_is_seen():
    for step in STEPS:
        assert 1 <= step.seen.count(". ") + 1 <= 3 and step.seen.endswith("."), step.name
