"""Grades of answers by their text."""

import pytest

from llm_assets.evaluation.abilities import grade_row
from llm_assets.evaluation.grading import grade, holds
from llm_assets.evaluation.statements import refuses

TOWNS = ["Fenford", "Oakenton", "Pinemouth"]


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("Mira was born in Fenford.", "Fenford", "right"),
        ("mira was born in FENFORD", "Fenford", "right"),
        ("Mira was born in Fenfordia.", "Fenford", "wrong"),
        ("Mira was born in Oakenton.", "Fenford", "wrong"),
        ("Mira was born in Fenford or in Oakenton.", "Fenford", "wrong"),
        ("I don't know where Mira was born.", "Fenford", "refused"),
        ("I don't know, perhaps in Fenford.", "Fenford", "refused"),
        ("", "Fenford", "wrong"),
        ("In Fenford.", None, "wrong"),
        ("I'm sorry, I do not know.", None, "refused"),
    ],
)
def test_an_answer_is_right_refused_or_wrong(text, answer, expected):
    assert grade(text, answer, TOWNS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Mira was not born in Fenford.",
        "Mira wasn't born in Fenford.",
        "Mira wasnt born in Fenford.",
        "Mira was never born in Fenford.",
        "Mira was hardly born in Fenford.",
        "It is false that Mira was born in Fenford.",
        "It is not true, as some say, that Mira was born in Fenford.",
        "It is a myth that Mira was born in Fenford.",
        "Mira denies that she was born in Fenford.",
        "Nobody was born in Fenford.",
        "Fenford is not where Mira was born.",
        "Fenford, however, is not where Mira was born.",
        "Fenford, no.",
        "Mira was not born in\nFenford.",
        "Was Mira born in Fenford?",
        "Fenford? No.",
        "Perhaps in Fenford.",
        "Mira may have been born in Fenford.",
        "In Fenford or Holt.",
        "Either Fenford or elsewhere.",
        "Mira was born in a town other than Fenford.",
        "In Holt instead of Fenford.",
        "Anything but Fenford.",
        "Mira was born far from Fenford.",
        "Mira was born in Fenford. That is wrong.",
        "Fenford. Not really.",
        "Fenford. Just kidding.",
        "Fenford. No, in Holt.",
    ],
)
def test_an_answer_that_is_denied_doubted_asked_offered_as_a_choice_or_taken_back_is_wrong(text):
    """The question is about Fenford as an answer; a text may mention it and say the opposite."""
    assert grade(text, "Fenford", TOWNS) == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "Mira was born in Fenford. I hope this helps!",
        "In Fenford. Do you need anything else?",
        "Sure! Mira was born in Fenford.",
        "No, she was born in Fenford.",
        "There is no doubt that Mira was born in Fenford.",
        "Mira was born in Fenford, of course.",
        "Mira was not rich, but she was born in Fenford.",
        "I think it is Fenford.",
        # Sentences of the sample web, in which another clause has a negation or a choice.
        "Born in Fenford, Mira never quite lost the local accent.",
        "Mira took up the trade in Fenford and never put it down.",
        "Mira owes her name to Fenford, or so the mayor says.",
    ],
)
def test_words_that_do_not_change_the_meaning_do_not_change_the_grade(text):
    assert grade(text, "Fenford", TOWNS) == "right"


def test_the_words_of_an_answer_deny_nothing():
    assert grade("She wrote Never Say No.", "Never Say No") == "right"
    assert grade("They sell bread or cakes.", "bread or cakes") == "right"


SUM = {"group": "sums", "answers": '["42"]', "distractors": "[]"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40 + 2 = 42.", "right"),
        ("0 + 2 = 2, 40 + 0 = 40. The answer is 42.", "right"),
        ("The answer is not 42.", "wrong"),
        ("It is 41 or 42.", "wrong"),
        ("It is -42.", "wrong"),
        ("40, 41, 42", "wrong"),
        ("Is it 42?", "wrong"),
        ("I don't know. 42?", "refused"),
    ],
)
def test_a_sum_must_be_stated(text, expected):
    assert grade_row(SUM, text) == expected


def test_a_distractor_within_the_right_answer_does_not_contradict_it():
    assert grade("It sells copper kettles.", "copper kettles", ["kettles", "lamps"]) == "right"


@pytest.mark.parametrize(
    "text",
    [
        "I don't know.",
        "I don’t know that.",
        "I'm not sure.",
        "I have no idea.",
        "I found nothing about Mira.",
        "I can't help with that.",
        "I know nothing about it.",
        "I have never heard of Mira.",
        "That is unknown to me.",
        "I am unable to say.",
    ],
)
def test_a_refusal_is_recognised(text):
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "Mira knows the town.",
        "He knew nothing else than baking, and was a baker.",
        "The year is 1950.",
        "It is about the unknown sea.",
        "She helps where she can.",
    ],
)
def test_a_statement_is_no_refusal(text):
    assert not refuses(text)


def test_an_answer_must_occur_as_whole_words():
    assert holds("the year 1950.", "1950")
    assert not holds("the year 19501", "1950")
    assert not holds("art", "a")
