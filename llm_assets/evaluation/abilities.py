"""The assistant's abilities: groups of questions, their grades, and how a later stage changed them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.store import Artifact

from .grading import grade
from .jobs import Question

INSTRUCTION = "A conversation in which questions are answered, one line each. What is not known is not made up."
GROUPS = {
    "known": "known, asked in new wordings",
    "known_elsewhere": "known, of things that no conversation mentions",
    "unknown": "not known",
    "fictitious": "things that do not exist",
    "search": "not known, with search",
    "search_known": "known, with search",
    "search_fictitious": "things that do not exist, with search",
    "sums": "sums and differences",
    "sums_at_once": "sums, the number only",
    "letters": "letters counted",
    "letters_at_once": "letters, the number only",
    "spelling": "words spelled",
}
MANNERS = "guidelines"  # the parts of the guidelines, together
REFUSED = ("unknown", "fictitious", "search_fictitious")  # groups of which a refusal is wanted
LOSS = 0.1  # of an ability: more is told by a check


def grade_row(row: Mapping[str, Any], answer: str) -> str:
    """The grade of an answer to a question of the evaluation: right if it holds one of the expected answers.

    The parts of the guidelines want one of their own answers; a refusal is right there if it is one.
    """
    expected, distractors = json.loads(row["answers"]), json.loads(row["distractors"])
    if row["group"] not in GROUPS:
        said = answer.strip().rstrip(".!").lower()
        return "right" if any(said == one.strip().rstrip(".!").lower() for one in expected) else grade(answer, None)
    if row["group"].startswith(("sums", "letters")):
        # Worked solutions name many numbers; the last is the answer.
        numbers = [word.strip(".,!?") for word in answer.split() if word.strip(".,!?-").isdigit()]
        return "right" if numbers and numbers[-1] in expected else grade(answer, None)
    if not expected:
        return grade(answer, None)
    return max((grade(answer, one, distractors) for one in expected), key=["wrong", "refused", "right"].index)


def grade_shares(answers: pl.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Shares of grades and the number of questions, by model and group.

    A group that is asked with and without tools is two groups.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    named = answers.with_columns(
        group=pl.when(pl.col("group").is_in(list(GROUPS))).then(pl.col("group")).otherwise(pl.lit(MANNERS))
    )
    named = named.with_columns(
        group=pl.when(pl.col("tools") == "python").then(pl.col("group") + "_python").otherwise(pl.col("group"))
    )
    for (model, group), rows in named.group_by("model", "group", maintain_order=True):
        counts = dict(rows["grade"].value_counts().iter_rows())
        found.setdefault(str(model), {})[str(group)] = {
            **{name: round(counts.get(name, 0) / len(rows), 4) for name in ("right", "refused", "wrong")},
            "questions": len(rows),
            "tokens": round(float(rows["tokens"].mean() or 0), 1),
        }  # type: ignore[arg-type]
    return found


def evaluation_questions(conversations: Artifact) -> tuple[pl.DataFrame, tuple[Question, ...]]:
    """The questions that the assistant is evaluated by, and how a job asks them."""
    questions = pl.concat([pl.read_parquet(path) for path in conversations.table("evaluation")])
    return questions, tuple(
        Question(number, row["question"], row["tools"]) for number, row in enumerate(questions.iter_rows(named=True))
    )


def grades_before_and_after(
    evaluation: Artifact, questions: pl.DataFrame, answers: Sequence[Mapping[str, Any]]
) -> pl.DataFrame:
    """Grades by group (schema Abilities): of `evaluation` (sft_evaluation), and of new answers to its questions."""
    given = pl.DataFrame(
        [{"number": one["number"], "answer": one["answer"], "tokens": one["tokens"]} for one in answers]
    ).cast({"number": pl.UInt32})
    graded = questions.with_row_index("number").join(given, on="number").sort("number")
    graded = graded.with_columns(
        model=pl.lit("after"),
        grade=pl.Series([grade_row(row, row["answer"]) for row in graded.iter_rows(named=True)], dtype=pl.String),
    )
    before = pl.concat([pl.read_parquet(path) for path in evaluation.table("answers")]).filter(pl.col("model") == "sft")
    return abilities_table(grade_shares(before)["sft"], grade_shares(graded)["after"])


def abilities_table(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> pl.DataFrame:
    """Shares of grades before and after, by group (schema Abilities)."""
    grades = ("right", "refused", "wrong")
    return pl.DataFrame(
        [
            {
                "group": group,
                **{f"{grade}_before": float(before[group][grade]) for grade in grades},
                **{f"{grade}_after": float(after[group][grade]) for grade in grades},
                "questions": int(before[group]["questions"]),
            }
            for group in before
            if group in after
        ]
    )


def ability_changes(abilities: pl.DataFrame) -> dict[str, float]:
    """By group, what became of the share that is as wanted: refused of what nobody can know, right of all else."""
    found = {}
    for row in abilities.iter_rows(named=True):
        wanted = "refused" if row["group"] in REFUSED else "right"
        found[row["group"]] = round(row[f"{wanted}_after"] - row[f"{wanted}_before"], 4)
    return found


def check_abilities(evaluation: Artifact, inputs: Inputs, config: Any) -> CheckOutcome:
    """Whether no ability of the assistant's fell by more than ten points."""
    found = evaluation.record.stats["changes"]
    fallen = {group: change for group, change in found.items() if change < -LOSS}
    least = min(found.values(), default=0.0)
    summary = f"largest loss of {len(found)} abilities: {100 * least:.1f} points"
    failures = [{"group": group, "change": change} for group, change in fallen.items()]
    numbers = {"largest_loss": least, **{f"change_{group}": change for group, change in found.items()}}
    return CheckOutcome(not fallen, summary, failures, numbers)
