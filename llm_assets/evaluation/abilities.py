"""The assistant's abilities: groups of evaluation questions, their grades, and how a later stage changed them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table

from .grading import grade
from .jobs import Question
from .quantities import states_number
from .statements import refuses, sentences

# How a base model is prompted: part of the prompt, so another wording gives other answers.
INSTRUCTION = "A conversation in which questions are answered, one line each. What is not known is not made up."
# Groups to which sections of the guidelines can belong.
SMALL_TALK, BEYOND_ABILITIES = "small_talk", "beyond_abilities"
GENERAL_GROUPS = (SMALL_TALK, BEYOND_ABILITIES)
# Groups of questions, with their titles on pages. Other sections of the guidelines are groups of their own.
GROUPS = {
    "known": "known facts, in new wordings",
    "known_elsewhere": "known facts that no conversation mentions",
    "unknown": "unknown facts",
    "fictitious": "fictitious entities",
    "search": "unknown facts, with search",
    "search_known": "known facts, with search",
    "search_fictitious": "fictitious entities, with search",
    "sums": "sums and differences",
    "sums_at_once": "sums and differences, the number only",
    "letters": "letter counting",
    "letters_at_once": "letter counting, the number only",
    "spelling": "spelling",
    SMALL_TALK: "greetings, thanks and other small talk",
    BEYOND_ABILITIES: "requests that it cannot meet",
}
GUIDELINES = "guidelines"  # the group that stands for all parts of the guidelines together
REFUSAL_GROUPS = ("unknown", "fictitious", "search_fictitious")  # groups in which the right behaviour is to refuse
LARGEST_LOSS = 0.1  # of an ability's share; the check fails beyond it
GRADES = ("right", "refused", "wrong")


def grade_row(row: Mapping[str, Any], answer: str) -> str:
    """Grade an answer to a question of the evaluation.

    row: the question's row of the table `evaluation` of `conversations`; `answers` and `distractors` are JSON lists.

    In most groups an answer is right if it states one of the expected answers. Questions on the guidelines expect one
    of the listed answers word for word; if a refusal is expected, it is among them. Sums and letter counting expect the
    answer to conclude with the right number. For small talk and requests beyond its abilities see `is_sensible`.
    """
    expected, distractors = json.loads(row["answers"]), json.loads(row["distractors"])
    if row["group"] in GENERAL_GROUPS:
        return "right" if is_sensible(answer, expected, distractors, row["group"] == BEYOND_ABILITIES) else "wrong"
    if row["group"] not in GROUPS:
        is_expected = _normalised(answer) in [_normalised(wording) for wording in expected]
        return "right" if is_expected else grade(answer, None)
    if row["group"].startswith(("sums", "letters")):
        # Worked solutions mention many numbers; the last one is the answer.
        is_right = any(states_number(answer, number) for number in expected)
        return "right" if is_right else grade(answer, None)
    if not expected:
        return grade(answer, None)
    grades = [grade(answer, wording, distractors) for wording in expected]
    return max(grades, key=["wrong", "refused", "right"].index)


def is_sensible(answer: str, expected: Sequence[str], unsuitable: Sequence[str], may_refuse: bool) -> bool:
    """Whether every sentence of a reply is one of the expected replies' or, if allowed, says that it does not know.

    unsuitable: refusals that do not fit the question, such as those of what is private or harmful.
    """
    accepted = {_normalised(sentence) for reply in expected for sentence in sentences(reply)}
    excluded = {_normalised(sentence) for reply in unsuitable for sentence in sentences(reply)}
    stated = [_normalised(sentence) for sentence in sentences(answer)]
    return bool(stated) and all(
        sentence in accepted or (may_refuse and sentence not in excluded and refuses(sentence)) for sentence in stated
    )


def _normalised(answer: str) -> str:
    return answer.strip().rstrip(".!").lower()


def grade_shares(answers: pl.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Shares of the grades, the number of questions and the mean number of tokens, by model and group.

    Questions with the Python tool form groups of their own, with the suffix ``_python``. All parts of the guidelines
    form one group.
    """
    by_model: dict[str, dict[str, dict[str, float]]] = {}
    group = pl.when(pl.col("group").is_in(list(GROUPS))).then(pl.col("group")).otherwise(pl.lit(GUIDELINES))
    suffix = pl.when(pl.col("tools") == "python").then(pl.lit("_python")).otherwise(pl.lit(""))
    grouped = answers.with_columns(group=group + suffix)
    for (model, name), rows in grouped.group_by("model", "group", maintain_order=True):
        counts = dict(rows["grade"].value_counts().iter_rows())
        by_model.setdefault(str(model), {})[str(name)] = {
            **{grade: round(counts.get(grade, 0) / len(rows), 4) for grade in GRADES},
            "questions": len(rows),
            "tokens": round(float(rows["tokens"].mean() or 0), 1),
        }  # type: ignore[arg-type]
    return by_model


def evaluation_questions(conversations: Artifact, split: str) -> tuple[pl.DataFrame, tuple[Question, ...]]:
    """The questions of a split by which the assistant is evaluated: as a table, and as a job passes them on."""
    table = read_table(conversations.table("evaluation")).filter(pl.col("split") == split)
    questions = tuple(
        Question(number, row["question"], row["tools"]) for number, row in enumerate(table.iter_rows(named=True))
    )
    return table, questions


def grades_before_and_after(
    evaluation: Artifact, questions: pl.DataFrame, answers: Sequence[Mapping[str, Any]]
) -> pl.DataFrame:
    """Grades by group (schema Abilities) before and after a later stage.

    evaluation: `sft_evaluation`, whose answers by the assistant are those before.
    questions, answers: the same questions, and a later model's answers with the questions' numbers.
    """
    answered = pl.DataFrame(
        [{"number": answer["number"], "answer": answer["answer"], "tokens": answer["tokens"]} for answer in answers]
    ).cast({"number": pl.UInt32})
    graded = questions.with_row_index("number").join(answered, on="number").sort("number")
    graded = graded.with_columns(
        model=pl.lit("after"),
        grade=pl.Series([grade_row(row, row["answer"]) for row in graded.iter_rows(named=True)], dtype=pl.String),
    )
    before = read_table(evaluation.table("answers")).filter(pl.col("model") == "sft")
    return abilities_table(grade_shares(before)["sft"], grade_shares(graded)["after"])


def abilities_table(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> pl.DataFrame:
    """The shares before and after of every group that both have, as a table (schema Abilities)."""
    return pl.DataFrame(
        [
            {
                "group": group,
                **{f"{grade}_before": float(before[group][grade]) for grade in GRADES},
                **{f"{grade}_after": float(after[group][grade]) for grade in GRADES},
                "questions": int(before[group]["questions"]),
            }
            for group in before
            if group in after
        ]
    )


def ability_changes(abilities: pl.DataFrame) -> dict[str, float]:
    """By group, the change of the share that should be high: refusals in `REFUSAL_GROUPS`, right answers elsewhere."""
    changes = {}
    for row in abilities.iter_rows(named=True):
        wanted = "refused" if row["group"] in REFUSAL_GROUPS else "right"
        changes[row["group"]] = round(row[f"{wanted}_after"] - row[f"{wanted}_before"], 4)
    return changes


def check_abilities(evaluation: Artifact, inputs: Inputs, config: Any) -> CheckOutcome:
    """Check that none of the assistant's abilities fell by more than ten points."""
    changes = evaluation.record.stats["changes"]
    failures = [{"group": group, "change": change} for group, change in changes.items() if change < -LARGEST_LOSS]
    worst, smallest = min(changes.items(), key=lambda item: item[1], default=("none", 0.0))
    limit = -100 * LARGEST_LOSS
    summary = f"worst change among {len(changes)} abilities: {worst} {100 * smallest:+.1f} points (limit {limit:.0f})"
    numbers = {"worst_change": smallest, **{f"change_{group}": change for group, change in changes.items()}}
    return CheckOutcome(not failures, summary, failures, numbers)
