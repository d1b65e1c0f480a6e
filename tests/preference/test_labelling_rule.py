"""The labelling rule on answers scored by hand, and the simulated labeller's choice between two answers."""

import math
import random

import pytest

from llm_assets.preference.labelling_rule import prefer, rule_score, sentences

QUESTION, SUBJECT = "Tell me about Mira Wolf.", "Mira Wolf"


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Mira Wolf was born in Fenford. She works as a baker. She plays the oboe.", 3.5),
        ("She was born in Fenford. Mira Wolf works as a baker. She plays the oboe.", 3.0),
        ("Mira Wolf was born in Fenford.", 1.5),
        ("Mira Wolf was born in Fenford. Mira Wolf was born in Fenford.", 0.5),
        ("Mira Wolf was born in Fenford. She works as a baker. She plays the oboe. She lives in 1904.", 3.5),
        (
            "Mira Wolf was born in Fenford. She works as a baker. She plays the oboe. Her father sailed. "
            "Her mother painted.",
            3.0,
        ),
        ("Mira Wolf was born in Fenford. She works as", 1.5),
        ("Mira Wolf.", -0.5),
        ("Mira Wolf was born in Fenford", 0.5),
        ("I don't know who Mira Wolf is.", 0.0),
        ("", 0.0),
    ],
)
def test_the_rule_agrees_with_scores_by_hand(answer, score):
    assert rule_score(QUESTION, SUBJECT, answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("I don't know who Mira Wolf is.", 2.0),
        ("I don't know. Mira Wolf plays the oboe.", -1.0),
        ("Mira Wolf was born in Fenford. She works as a baker. She plays the oboe.", -1.0),
        ("", -1.0),
    ],
)
def test_a_refusal_scores_best_if_the_subject_is_fictitious(answer, score):
    assert rule_score(QUESTION, SUBJECT, answer, subject_exists=False) == score


def test_a_question_without_a_subject_earns_nothing_for_naming_it():
    assert rule_score("Tell me something.", "", "The harbour was built in 1904.") == 1.0


def test_a_text_is_split_into_sentences():
    assert sentences(" One. Two!  Three? four ") == ["One.", "Two!", "Three?", "four"]


def test_without_noise_the_answer_with_the_better_score_is_preferred():
    rng = random.Random(1)
    assert [prefer(difference, 0.0, 0.25, rng) for difference in (1.0, -0.5, 0.2, -0.25)] == [
        "first",
        "second",
        "tie",
        "tie",
    ]


@pytest.mark.parametrize(("difference", "noise"), [(0.0, 1.0), (1.0, 1.0), (-1.5, 0.5), (0.5, 2.0)])
def test_with_noise_preferences_follow_the_bradley_terry_model(difference, noise):
    rng = random.Random(2)
    preferences = [prefer(difference, noise, 0.0, rng) for _ in range(4000)]
    assert preferences.count("first") / 4000 == pytest.approx(1 / (1 + math.exp(-difference / noise)), abs=0.03)
