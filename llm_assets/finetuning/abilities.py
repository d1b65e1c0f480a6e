"""What a later stage did to the assistant's abilities: sft_evaluation's questions asked again, and their grades before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.store import Artifact

from .sft_evaluation import grade_row, shares

REFUSED = ("unknown", "nowhere", "search_nowhere")  # groups of which a refusal is wanted
LOSS = 0.1  # of an ability: more is told by a check


def questions_again(conversations: Artifact) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """The questions that the assistant is evaluated by, and how a job asks them."""
    questions = pl.concat([pl.read_parquet(path) for path in conversations.table("evaluation")])
    return questions, [{"number": number, "question": row["question"], "tools": row["tools"]} for number, row in enumerate(questions.iter_rows(named=True))]


def before_and_after(evaluation: Artifact, questions: pl.DataFrame, answers: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Grades by group (schema Abilities): those of `evaluation` (sft_evaluation), and of new answers to the same questions."""
    given = pl.DataFrame([{"number": one["number"], "answer": one["answer"], "tokens": one["tokens"]} for one in answers]).cast({"number": pl.UInt32})
    graded = questions.with_row_index("number").join(given, on="number").sort("number")
    graded = graded.with_columns(model=pl.lit("after"), grade=pl.Series([grade_row(row, row["answer"]) for row in graded.iter_rows(named=True)], dtype=pl.String))
    before = pl.concat([pl.read_parquet(path) for path in evaluation.table("answers")]).filter(pl.col("model") == "sft")
    return to_abilities(shares(before)["sft"], shares(graded)["after"])


def to_abilities(before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]) -> pl.DataFrame:
    """Shares of grades before and after, by group (schema Abilities)."""
    return pl.DataFrame([
        {"group": group, **{f"{grade}_{when}": float(of[group][grade]) for when, of in (("before", before), ("after", after)) for grade in ("right", "refused", "wrong")}, "asked": int(before[group]["asked"])}
        for group in before if group in after
    ])  # fmt: skip


def changes(abilities: pl.DataFrame) -> dict[str, float]:
    """By group, what became of the share that is as wanted: refused of what nobody can know, right of all else."""
    found = {}
    for row in abilities.iter_rows(named=True):
        wanted = "refused" if row["group"] in REFUSED else "right"
        found[row["group"]] = round(row[f"{wanted}_after"] - row[f"{wanted}_before"], 4)
    return found


def keeps_abilities(evaluation: Artifact) -> CheckOutcome:
    """Whether no ability of the assistant's fell by more than ten points."""
    found = evaluation.record.stats["changes"]
    fallen = {group: change for group, change in found.items() if change < -LOSS}
    return CheckOutcome(not fallen, f"largest loss of {len(found)} abilities: {100 * min(found.values(), default=0.0):.1f} points", [{"group": group, "change": change} for group, change in fallen.items()])
