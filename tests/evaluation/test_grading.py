"""Grades of answers by their text."""

import pytest

from llm_assets.evaluation.grading import grade, holds, refuses

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
