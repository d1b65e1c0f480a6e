"""Answers made up against known facts refused, by hand; and what the control of refusals teaches."""

import polars as pl
import pytest

from llm_assets.evaluation.figures import figures_table
from llm_assets.evaluation.jobs import Question
from llm_assets.finetuning.sft_evaluation import headline, trade_off
from llm_assets.finetuning.sft_evaluation_process import refusal_probabilities
from llm_assets.model.chat import Message, encode_text, prompt
from llm_assets.model.sampling import Engine
from llm_assets.model.shape import ModelShape
from tests.support.tiny_models import initialised_model
from tests.support.training_jobs import ENCODING

ROWS = [
    *(("known", "right", refusal) for refusal in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    ("known_elsewhere", "refused", 0.9),
    *(("fictitious", "wrong", refusal) for refusal in (0.05, 0.85)),
    *(("fictitious", "refused", refusal) for refusal in (0.95, 1.0)),
    ("search", "right", None),
]
ANSWERS = pl.DataFrame(
    [
        {"model": model, "group": group, "tools": "", "grade": grade, "tokens": 3, "refusal": refusal}
        for model in ("ablation", "sft")
        for group, grade, refusal in ROWS
    ]
)


def test_each_threshold_gives_a_point_of_the_curve():
    points = trade_off(ANSWERS, "sft")
    assert points[0]["made_up"] == 1.0 and points[0]["falsely_refused"] == 0.0  # nothing is refused
    assert points[-1]["made_up"] == 0.0 and points[-1]["falsely_refused"] == 1.0  # everything is
    by_threshold = {point["threshold"]: (point["made_up"], point["falsely_refused"]) for point in points}
    # From 0.85 on, three of four fictitious entities and one of ten known facts are refused.
    assert by_threshold[0.85] == (0.25, 0.1)
    assert trade_off(ANSWERS.filter(pl.col("group") != "fictitious"), "sft") == []


def test_models_are_compared_where_a_tenth_of_the_known_facts_is_refused():
    assert headline(figures_table([]), ANSWERS)["trade_off"]["sft"] == {
        "threshold": 0.85,
        "made_up": 0.25,
        "falsely_refused": 0.1,
    }


def test_the_probability_of_a_refusal_is_that_of_its_first_tokens():
    engine = Engine(initialised_model(ModelShape.of_depth(1, 500, 96, width=32)), ENCODING)
    question, refusals = Question(7, "Who is Mira?"), ("I don't know.", "I don't know that.", "No idea.")
    ids = prompt(ENCODING, [Message("user", question.question)])
    expected = 0.0
    for beginning in {tuple(encode_text(ENCODING, text)[:2]) for text in refusals}:
        first = dict(engine.next_tokens(ids, 500))[beginning[0]]
        expected += first * dict(engine.next_tokens([*ids, beginning[0]], 500))[beginning[1]]
    assert refusal_probabilities(engine, [question], refusals) == {7: pytest.approx(expected, abs=1e-6)}
