"""Checkers accept right answers and reject answers that only look right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.evaluation.checking import is_number, is_number_only, is_spelled, is_stated
from llm_assets.evaluation.quantities import numbers


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
        ("The change is -$5.00.", "-5"),
        ("The change is $-5.", "-5"),
        ("The change is \u2212\u20ac5.", "-5"),
        ("It falls to \u20133 degrees.", "-3"),  # an en dash, as word processors write it
        ("It falls to \u20113 degrees.", "-3"),  # a hyphen that does not break
        ("It falls to minus 3.", "-3"),
        ("It falls to 3 degrees below zero.", "-3"),
        ("#### -3", "-3"),
        ("#### 42\nand the steps agree.", "42"),
        ("The answer is 41. No, 42.", "42"),
        ("It is not 41. It is 42.", "42"),
        ("72 clips, altogether.", "72"),
        ("There are 72, I think.", "72"),
        ("The answer is **42**.", "42"),
        (r"The answer is \boxed{42}.", "42"),
        ("<answer>42</answer>", "42"),
        ("50 minus 8 = 42", "42"),
        ("50 \u2013 8 = 42", "42"),
        # Words after the answer, or before it, that do not change it.
        ("The answer is 42. I hope this helps!", "42"),
        ("Sure! 42. Is there anything else?", "42"),
        ("50 - 8 = 42. The answer is 42.", "42"),
        ("Step 1: 40 + 1 = 41\nStep 2: 41 + 1 = 42\nThe answer is 42", "42"),
        ("He did not sell 5 eggs, so 47 - 5 = 42\n#### 42", "42"),
        ("It is 42. There is no doubt about it.", "42"),
        ("#### 42. Is there anything else?", "42"),
        # Thousands as ISO 80000-1 and the Swiss write them.
        ("It is 1\u202f085.", "1085"),
        ("It is 1\u00a0085\u00a0000.", "1085000"),
        ("It is 1'085.5.", "1085.5"),
        ("-(42)", "-42"),
        ("It is .5.", "0.5"),
        ("It is 5km from here.", "5"),
        ("They go at 90km/h.", "90"),
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
        # The sign of an amount, or one written with another dash or as a word, is part of the number.
        # A guess, what others say, and a number that a function or a unit makes another one.
        ("It is 85k.", "85"),
        ("It is .85.", "85"),
        ("It is probably 85.", "85"),
        ("Some people say 85.", "85"),
        ("I used to think it was 85.", "85"),
        ("It is sqrt(85).", "85"),
        ("It is 85\u2030.", "85"),
        ("The change is -$5.00.", "5"),
        ("The change is $-5.", "5"),
        ("It falls to \u20133 degrees.", "3"),
        ("It falls to \u20103 degrees.", "3"),
        ("It falls to minus 3.", "3"),
        ("It falls to negative 3.", "3"),
        ("It falls to 3 degrees below zero.", "3"),
        ("3 - 8 = - 5", "5"),
        ("The answer - 5.", "5"),
        ("It is \u00b15.", "5"),
        ("x-42", "42"),
        # What is denied, doubted or asked is not stated.
        ("The answer is not 42.", "42"),
        ("It isn't 42, is it?", "42"),
        ("It isn\u2019t 42.", "42"),
        ("Is it 42?", "42"),
        ("It is never 42.", "42"),
        ("It is not true that 40 + 2 = 42.", "42"),
        ("40 + 2 != 42", "42"),
        ("40 + 2 \u2260 42", "42"),
        ("40 + 2 = 42. But that is wrong.", "42"),
        ("#### 42\nThis is incorrect.", "42"),
        ("I don't know whether #### 42", "42"),
        # A bound, an estimate or a part is another number.
        ("It is more than 42.", "42"),
        ("At least 42.", "42"),
        ("It is anything but 42.", "42"),
        ("x > 42", "42"),
        ("It is about 42.", "42"),
        ("42 thousand.", "42"),
        ("42 and a half.", "42"),
        ("42 \u00bd", "42"),
        ("42 or more.", "42"),
        ("It is approx. 42.", "42"),
        ("It is more than -42.", "-42"),
        ("About -$42.", "-42"),
        ("At least minus 42.", "-42"),
        ("It might be 42.", "42"),
        ("Twice 42.", "42"),
        ("42 squared.", "42"),
        ("42 plus one.", "42"),
        ("-(42)", "42"),
        # A choice, a list, or a sentence that is taken back states nothing.
        ("It is either 41 or 42.", "42"),
        ("x = 41 or x = 42", "42"),
        ("It is 41. Or 42.", "42"),
        ("40, 41, 42, 43", "42"),
        ("The answer is not\n42", "42"),
        ("The answer is 42. That is wrong.", "42"),
        ("The answer is 42. No.", "42"),
        ("It is 42. Just kidding.", "42"),
        ("1\u202f042", "42"),
        ("1'042", "42"),
    ],
)
def test_a_wrong_or_ambiguous_number_is_rejected(text, answer):
    assert not is_number(text, answer)


def test_a_name_may_contain_a_word_of_negation():
    assert is_stated("She wrote Never Again.", "Never Again")
    assert not is_stated("She never wrote Never Again.", "Never Again")


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
        ("Holt does not lie in Norrland.", False),
        ("Holt isn't in Norrland.", False),
        ("Does Holt lie in Norrland?", False),
        ("It is false that Holt lies in Norrland.", False),
        ("Holt is hardly in Norrland.", False),
        ("Holt does not lie in the south. It lies in Norrland.", True),
        ("Holt lies in Norrland. I hope this helps.", True),
        ("Highmoor. No, Norrland.", True),
        ("Highmoor. Or Norrland.", False),
        ("Holt lies in Norrland. That is wrong.", False),
        ("Holt may be in Norrland.", False),
    ],
)
def test_only_the_last_sentence_counts(text, right):
    assert is_stated(text, "Norrland", DISTRACTORS) == right
