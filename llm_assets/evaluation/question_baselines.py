"""Baselines of the questions to the assistant: answers that cost nothing, graded as a model's answers are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.dialogue.splits import TRAIN

from .abilities import grade_row, suite_groups

REFUSES = "always refuses"
MAJORITY = "majority by relation"
CONSTANT = "best constant answer"
REFUSAL = "I don't know."


def baseline_answers(questions: pl.DataFrame, topics: pl.DataFrame) -> pl.DataFrame:
    """The graded answers of every baseline to the questions that it applies to.

    Its columns are those of EvaluationAnswers that `question_figures` reads; tokens are null.

    always refuses: says that it does not know, whatever the question. majority by relation: to a question about an
    entity, the most common value of the relation among the topics of the training split. best constant answer: to all
    other questions, the one answer that is right most often in their group. It is chosen with the group's own answers,
    so no constant answer does better.

    questions: rows of `conversations`' table `evaluation`. topics: rows of `knowledge_boundary`'s table `topics`.
    """
    majority, constants = majority_answers(topics), constant_answers(questions)
    groups = suite_groups(questions)["group"].to_list()
    is_fact = (questions["relation"] != "").to_list()
    numbers = range(len(questions))
    facts, others = ([number for number in numbers if is_fact[number] == wanted] for wanted in (True, False))
    rows = questions.to_dicts()
    answers: dict[str, tuple[Sequence[int], Callable[[int], str]]] = {
        REFUSES: (numbers, lambda number: REFUSAL),
        MAJORITY: (facts, lambda number: majority.get(rows[number]["relation"], "")),
        CONSTANT: (others, lambda number: constants[groups[number]]),
    }
    graded = [
        {
            "model": model,
            "number": number,
            **{name: rows[number][name] for name in ("group", "tools", "entity", "question")},
            "grade": grade_row(rows[number], answer_to(number)),
            "tokens": None,
        }
        for model, (numbers, answer_to) in answers.items()
        for number in numbers
    ]
    return pl.DataFrame(graded, schema_overrides={"number": pl.Int64, "tokens": pl.Int64})


def majority_answers(topics: pl.DataFrame) -> dict[str, str]:
    """By relation, the most common answer of the training split's topics; of equally common ones, the first by name."""
    by_relation: dict[str, Counter[str]] = {}
    for relation, answer in topics.filter(pl.col("split") == TRAIN).select("relation", "answer").iter_rows():
        by_relation.setdefault(relation, Counter())[answer] += 1
    return {relation: most_common(counts) for relation, counts in by_relation.items()}


def constant_answers(questions: pl.DataFrame) -> dict[str, str]:
    """By group, the answer that is among the right ones of the most questions."""
    by_group: dict[str, Counter[str]] = {}
    for group, answers in suite_groups(questions).select("group", "answers").iter_rows():
        by_group.setdefault(group, Counter()).update(set(json.loads(answers)))
    return {group: most_common(counts) for group, counts in by_group.items()}


def most_common(counts: Mapping[Any, int]) -> Any:
    """The key with the highest count, the first in order if there are several; an empty text if there is none."""
    return min(counts, key=lambda key: (-counts[key], key), default="")
