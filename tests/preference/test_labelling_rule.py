"""The simulated labeller: its rule on answers by hand, and how it chooses."""

import math
import random

import pytest

from llm_assets.preference.labelling_rule import prefer, rule_score, sentences

ASKED, WHO = "Tell me about Mira Wolf.", "Mira Wolf"


@pytest.mark.parametrize(
    ("answer", "liked"),
    [
        ("Mira Wolf was born in Fenford. She works as a baker. She plays the oboe.", 3.5),
        ("She was born in Fenford. Mira Wolf works as a baker. She plays the oboe.", 3.0),
        ("Mira Wolf was born in Fenford.", 1.5),
        ("Mira Wolf was born in Fenford. Mira Wolf was born in Fenford.", 0.5),
        ("Mira Wolf was born in Fenford. She works as a baker. She plays the oboe. She lives in 1904.", 3.5),
        (
            "Mira Wolf was born in Fenford. She works as a baker. She plays the oboe. Her father sailed. Her mother painted.",
            3.0,
        ),
        ("Mira Wolf was born in Fenford. She works as", 1.5),
        ("Mira Wolf.", -0.5),
        ("Mira Wolf was born in Fenford", 0.5),
        ("I don't know who Mira Wolf is.", 0.0),
        ("", 0.0),
    ],
)
def test_the_rule_by_hand(answer, liked):
    assert rule_score(ASKED, WHO, answer) == liked


@pytest.mark.parametrize(
    ("answer", "liked"),
    [
        ("I don't know who Mira Wolf is.", 2.0),
        ("I don't know. Mira Wolf plays the oboe.", -1.0),
        ("Mira Wolf was born in Fenford. She works as a baker. She plays the oboe.", -1.0),
        ("", -1.0),
    ],
)
def test_of_what_exists_nowhere_a_refusal_is_liked_best(answer, liked):
    assert rule_score(ASKED, WHO, answer, subject_exists=False) == liked


def test_a_question_without_a_subject_wants_no_name():
    assert rule_score("Tell me something.", "", "The harbour was built in 1904.") == 1.0


def test_sentences():
    assert sentences(" One. Two!  Three? four ") == ["One.", "Two!", "Three?", "four"]


def test_without_noise_the_better_one_is_chosen():
    rng = random.Random(1)
    assert [prefer(difference, 0.0, 0.25, rng) for difference in (1.0, -0.5, 0.2, -0.25)] == [
        "first",
        "second",
        "tie",
        "tie",
    ]


@pytest.mark.parametrize(("difference", "noise"), [(0.0, 1.0), (1.0, 1.0), (-1.5, 0.5), (0.5, 2.0)])
def test_with_noise_it_chooses_as_bradley_and_terry_have_it(difference, noise):
    rng = random.Random(2)
    said = [prefer(difference, noise, 0.0, rng) for _ in range(4000)]
    assert said.count("first") / 4000 == pytest.approx(1 / (1 + math.exp(-difference / noise)), abs=0.03)
