"""The labelling rule on answers scored by hand, and the simulated labeller's choice between two answers."""

import math
import random

import pytest

from llm_assets.evaluation.ground_truth import GroundTruth, StatementJudge, TruthFact
from llm_assets.preference.labelling_rule import prefer, rule_score, truth_score

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


FACTS = (("birthplace", "Fenford"), ("profession", "baker"), ("instrument", "oboe"), ("born", "1904"))
OTHERS = (("birthplace", "Holt"), ("profession", "poet"), ("instrument", "lute"), ("born", "1950"))
JUDGE = StatementJudge(
    GroundTruth(
        tuple(TruthFact(SUBJECT, "person", *fact) for fact in FACTS)
        + tuple(TruthFact("Toven Hale", "person", *fact) for fact in OTHERS),
        {"birthplace": ("{n} was born in {v}.",), "profession": ("{n} works as {a}.",)},
    )
)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Mira Wolf was born in Fenford. She works as a baker. She plays the oboe.", 3.5),
        ("Mira Wolf was born in Holt. She works as a poet. She plays the lute.", -2.5),
        ("Mira Wolf was born in Fenford. She works as a poet. She plays the oboe.", 1.5),
        ("Mira Wolf was born in Fenford. Mira Wolf was born in Fenford.", 0.5),
        ("Mira Wolf is a fine person. Everybody likes her.", 0.5),  # nothing that can be checked earns nothing
        ("Mira Wolf was born in Fenford. Toven Hale works as a poet.", 1.5),  # true, but of somebody else
        ("Mira Wolf was born in Fenford. She works as a baker. She plays the oboe. She dates from 1904.", 3.5),
        ("I don't know.", 0.0),
        ("", 0.0),
    ],
)
def test_the_gold_signal_counts_true_statements_and_fines_false_ones(answer, score):
    """The rule, which cannot look facts up, gives the second answer as much as the first."""
    assert truth_score(JUDGE, SUBJECT, answer) == score


def test_the_gold_signal_wants_a_refusal_about_a_fictitious_subject():
    assert truth_score(JUDGE, "Nobody Known", "I don't know.", subject_exists=False) == 2.0
    assert truth_score(JUDGE, "Nobody Known", "Nobody Known works as a baker.", subject_exists=False) == -1.0


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
