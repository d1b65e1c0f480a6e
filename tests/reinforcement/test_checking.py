"""Checkers accept right answers and reject answers that only look right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.reinforcement.checking import is_number, is_number_only, is_spelled, is_stated, numbers


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("85", "85"),
        ("85.", "85"),
        ("47 + 38 = 85.", "85"),
        ("The answer is 85.", "85"),
        ("40 + 30 = 70, 7 + 8 = 15, 70 + 15 = 85. 47 + 38 = 85.", "85"),
        ("It costs $1,085.", "1085"),
        ("He has 3 and she has 4.\n#### 7", "7"),
        ("#### 1,000", "1000"),
        ("x = -5", "-5"),
        ("7 − 12 = −5", "-5"),
        ("3.50 = 3.5", "3.5"),
        ("The letter r occurs 3 times.", "3"),
        ("s, t, r 1. The letter r occurs 1 times.", "1"),
        ("That makes 85 %.", "85"),
        ("85!", "85"),
        ("(85)", "85"),
    ],
)
def test_a_right_number_is_accepted(text, answer):
    assert is_number(text, answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "85"),
        ("I don't know.", "85"),
        ("85 or 86", "85"),
        ("1 2 3 4 5 6 7", "5"),
        ("185", "85"),
        ("85.5", "85"),
        ("8.5", "85"),
        ("-85", "85"),
        ("85 = 84", "85"),
        ("It is 85. No, 84.", "85"),
        ("x85", "85"),
        ("85th", "85"),
        ("85,000", "85"),
        ("47 + 38", "85"),
        ("The answer is 85 #### 84", "85"),
        ("eighty-five", "85"),
        ("1.85", "85"),
        ("85/2", "85"),
        ("2026-10-85", "85"),
        ("85=", "85"),
        ("0x85", "85"),
        ("8 5", "85"),
    ],
)
def test_a_wrong_or_ambiguous_number_is_rejected(text, answer):
    assert not is_number(text, answer)


@given(st.integers(-10_000, 10_000), st.integers(-10_000, 10_000))
def test_a_number_is_accepted_exactly_if_it_equals_the_answer(number, answer):
    assert is_number(f"That is {number:,}.", str(answer)) == (number == answer)


@given(st.text(max_size=60))
def test_any_text_is_checked_without_an_error(text):
    assert (
        is_number(text, "7") in (True, False)
        and is_spelled(text, "cab") in (True, False)
        and is_number_only(text, "7") in (True, False)
        and is_stated(text, "Holt") in (True, False)
    )
    assert all(number.is_finite() for number in numbers(text))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("c-a-b.", True),
        ("C-a-b", True),
        (" c-a-b. ", True),
        ("cab", False),
        ("c-a-b-b", False),
        ("c-a", False),
        ("c a b", False),
        ("c-a-b. c-a-b.", False),
        ("It is c-a-b.", False),
        ("", False),
    ],
)
def test_only_letters_joined_by_hyphens_are_a_spelling(text, right):
    assert is_spelled(text, "cab") == right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("3.", True),
        ("3", True),
        (" 3. ", True),
        ("The letter r occurs 3 times.", False),
        ("s, t, r 1. 3.", False),
        ("3 3", False),
        ("13.", False),
        ("3..", False),
        ("three", False),
        ("", False),
        ("r = 3", False),
    ],
)
def test_only_the_number_alone_is_accepted(text, right):
    assert is_number_only(text, "3") == right


DISTRACTORS = ("Norrland", "Eastmarch", "Highmoor")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Holt lies in Norrland.", True),
        ("Mira was born in Holt. Holt lies in Norrland.", True),
        ("norrland", True),
        ("Holt lies in Norrlands.", False),
        ("Norrland or Highmoor.", False),
        ("Norrland. Or Highmoor.", False),
        ("I don't know whether it is Norrland.", False),
        ("Norrland lies in Highmoor.", False),
        ("", False),
    ],
)
def test_only_the_last_sentence_counts(text, right):
    assert is_stated(text, "Norrland", DISTRACTORS) == right
