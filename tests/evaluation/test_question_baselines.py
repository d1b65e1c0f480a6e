"""Baselines of the questions to the assistant, by hand and beside models that answer as they do."""

import json

import polars as pl
import pytest

from llm_assets.evaluation.abilities import answers_table, question_figures
from llm_assets.evaluation.answers import answers_with_tools
from llm_assets.evaluation.figures import figures_table, find
from llm_assets.evaluation.jobs import Question
from llm_assets.evaluation.question_baselines import CONSTANT, MAJORITY, REFUSES, baseline_answers, majority_answers
from tests.support.constant_model import ConstantModel

TOPICS = pl.DataFrame(
    [
        {"relation": relation, "answer": answer, "split": split}
        for relation, answer, split in (
            ("birthplace", "Holt", "train"),
            ("birthplace", "Holt", "train"),
            ("birthplace", "Ravik", "train"),
            # More common, but only among entities that no conversation mentions.
            *(("birthplace", "Ravik", "test") for _ in range(5)),
            ("trade", "weaver", "train"),
            ("trade", "baker", "train"),
        )
    ]
)


def question(group, text, answers, relation="", tools="", distractors=()):
    return {
        "group": group,
        "entity": f"entity of {text}" if relation else "",
        "relation": relation,
        "question": text,
        "tools": tools,
        "answers": json.dumps(answers),
        "distractors": json.dumps(list(distractors)),
    }


TOWNS = ("Holt", "Ravik")
QUESTIONS = pl.DataFrame(
    [
        question("known", "Where was Ann born?", ["Holt"], "birthplace", distractors=TOWNS),
        question("known", "Where was Ben born?", ["Ravik"], "birthplace", distractors=TOWNS),
        question("known", "What was Cid?", ["baker"], "trade", distractors=("weaver", "baker")),
        question("known", "What was Dan called?", ["Dee"], "nickname"),
        question("fictitious", "Where was Nobody born?", [], "birthplace"),
        *(question("letters_at_once", f"{n}: letters?", [answer]) for n, answer in enumerate("1121")),
        *(question("letters", f"{n}: letters?", [answer], tools="python") for n, answer in enumerate("2213")),
        question("manners", "Thanks!", ["You are welcome.", "My pleasure."]),
        question("manners", "Thank you!", ["You are welcome."]),
        question("identity", "Who are you?", ["I am Bea."]),
    ]
)


def shares(answers, metric):
    """The share of a grade by model and group."""
    table = find(figures_table(question_figures(answers)), metric=metric)
    return {(figure["model"], figure["group"]): figure["value"] for figure in table.to_dicts()}


def test_the_majority_is_that_of_the_training_split_and_ties_go_by_name():
    assert majority_answers(TOPICS) == {"birthplace": "Holt", "trade": "baker"}


def test_every_baseline_has_the_score_worked_by_hand():
    baselines = baseline_answers(QUESTIONS, TOPICS)
    assert shares(baselines, "right") == {
        (REFUSES, "known"): 0.0,
        (REFUSES, "fictitious"): 0.0,
        (REFUSES, "letters_at_once"): 0.0,
        (REFUSES, "letters_python"): 0.0,
        (REFUSES, "guidelines"): 0.0,
        (MAJORITY, "known"): 0.5,  # Ann and Cid; not Ben, nor Dan, of whose relation there is no training topic
        (MAJORITY, "fictitious"): 0.0,
        (CONSTANT, "letters_at_once"): 0.75,
        (CONSTANT, "letters_python"): 0.5,
        (CONSTANT, "guidelines"): pytest.approx(2 / 3, abs=1e-6),
    }
    refused = shares(baselines, "refused")
    assert {share for (model, _), share in refused.items() if model == REFUSES} == {1.0}
    assert refused[MAJORITY, "fictitious"] == 0.0


@pytest.mark.parametrize(("answer", "group"), [("1", "letters_at_once"), ("2", "letters_python")])
def test_a_model_that_gives_the_best_constant_answer_has_the_baselines_score(answer, group):
    job = [
        Question(number, row["question"], row["tools"]) for number, row in enumerate(QUESTIONS.iter_rows(named=True))
    ]
    model = answers_with_tools(ConstantModel(answer), job, lambda tools: None, 8)
    graded = answers_table(QUESTIONS, {"sft": model})
    constant = shares(baseline_answers(QUESTIONS, TOPICS), "right")[CONSTANT, group]
    assert shares(graded, "right")["sft", group] == constant > 0


def test_a_model_that_always_refuses_has_the_score_of_that_baseline():
    job = [Question(number, text) for number, text in enumerate(QUESTIONS["question"])]
    model = answers_with_tools(ConstantModel("I don't know."), job, lambda tools: None, 8)
    graded = shares(answers_table(QUESTIONS, {"sft": model}), "refused")
    assert {share for share in graded.values()} == {1.0}
