"""Figures of open answers, by hand."""

import polars as pl
import pytest

from llm_assets.evaluation.figures import figures_table, find
from llm_assets.model.assistant import EXAMPLES
from llm_assets.preference.open_answers import base_examples, open_figures


def answer(model, prompt, gold, true, false):
    scores = {"proxy": 2 * gold, "gold": gold, "tokens": 10, "finished": True, "uncheckable": 1}
    return {"model": model, "prompt": prompt, "true": true, "false": false, **scores}


ANSWERS = pl.DataFrame(
    [
        answer("sft", 1, 1.0, 1, 1),
        answer("sft", 2, 1.0, 2, 0),
        answer("sft", 3, 0.0, 0, 0),
        answer("sft", 4, 0.0, 0, 1),
        answer("rlhf", 1, 2.0, 2, 0),
        answer("rlhf", 2, 1.0, 2, 0),
        answer("rlhf", 3, -1.0, 0, 2),
        answer("rlhf", 4, 3.0, 3, 0),
    ]
)


def figures_of(answers):
    return {
        (figure["model"], figure["metric"]): (figure["value"], figure["n"])
        for figure in figures_table(open_figures(answers)).to_dicts()
    }


def test_figures_agree_with_results_by_hand():
    figures = figures_of(ANSWERS)
    assert figures["sft", "precision"] == (0.6, 5) and figures["rlhf", "precision"] == (
        pytest.approx(7 / 9, abs=1e-6),
        9,
    )
    assert figures["sft", "false"] == (0.5, 4) and figures["rlhf", "true"] == (1.75, 4)
    assert figures["rlhf", "gold"] == (1.25, 4) and figures["rlhf", "proxy"] == (2.5, 4)
    assert figures["rlhf", "finished"] == (1.0, 4)


def test_ties_are_counted_and_left_out_of_the_preference():
    figures = figures_of(ANSWERS)
    assert figures["rlhf", "better than sft"] == (0.5, 4)
    assert figures["rlhf", "equal to sft"] == figures["rlhf", "worse than sft"] == (0.25, 4)
    assert figures["rlhf", "preferred to sft"] == (pytest.approx(2 / 3, abs=1e-6), 3)
    assert ("sft", "better than sft") not in figures


def test_without_ground_truth_no_statement_is_judged():
    unjudged = ANSWERS.with_columns(pl.lit(None, pl.Int64).alias(name) for name in ("true", "false", "uncheckable"))
    metrics = {metric for _, metric in figures_of(unjudged)}
    assert {"gold", "better than sft"} <= metrics and not metrics & {"true", "false", "precision"}


def test_models_whose_answers_are_all_equal_are_not_preferred():
    same = pl.concat(
        [ANSWERS.filter(pl.col("model") == "sft").with_columns(model=pl.lit(name)) for name in ("sft", "rl")]
    )
    table = figures_table(open_figures(same))
    assert find(table, metric="equal to sft")["value"].to_list() == [1.0]
    assert find(table, metric="preferred to sft").is_empty()


def test_a_base_model_is_shown_prompts_of_the_training_split_with_what_the_corpus_says():
    prompts = pl.DataFrame(
        [
            {
                "split": split,
                "question": f"Tell me about {subject}.",
                "subject": subject,
                "subject_exists": subject != "Nobody",
            }
            for split, subject in (("test", "Cid"), ("train", "Nobody"), ("train", "Ann"), ("train", "Ben"))
        ]
    )
    sentences = {"Ann": 1, "Ben": 5, "Cid": 4, "Nobody": 3}
    topics = pl.DataFrame(
        [{"entity": name, "sentence": f"{name} {n}."} for name, count in sentences.items() for n in range(count)]
    )
    assert base_examples(prompts, topics) == (("Tell me about Ben.", "Ben 0. Ben 1. Ben 2."),)
    assert base_examples(prompts, topics.clear()) == EXAMPLES
