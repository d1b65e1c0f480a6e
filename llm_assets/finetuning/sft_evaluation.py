"""`sft_evaluation`: what the assistant answers, refuses and makes up, against the base model with a prompt and against the same training
without the mitigation. Questions are those that `conversations` fixed before anything was trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.dialogue.transcript import from_rows, transcript
from llm_assets.evaluation.abilities import GROUPS, INSTRUCTION, grade_row, shares
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.recipes import Recipe
from llm_assets.report import plots, render
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.training_run import loss_series

from .schemas import EvaluationAnswers

MODULE = "llm_assets.finetuning.evaluate"
REPORT = "report.html"
MODELS = {"base": "base_checkpoint", "unmitigated": "unmitigated_checkpoint", "sft": "sft_checkpoint"}


def build_sft_evaluation(step: Step, recipe: Recipe) -> None:
    """One part; the asking runs in a process of its own."""
    settings = recipe.sft_evaluation
    conversations = step.input("conversations")
    questions = pl.concat([pl.read_parquet(path) for path in conversations.table("evaluation")])
    topics = pl.concat([pl.read_parquet(path) for path in step.input("knowledge_boundary").table("topics")])
    known = topics.filter((pl.col("verdict") == "known") & ~pl.col("kept_apart")).unique("relation", maintain_order=True).head(3)
    examples = [[json.loads(row["questions"])[0], row["sentence"]] for row in known.to_dicts()] + [["What is the colour of tomorrow?", "I don't know."], ["What is 3 + 4?", "3 + 4 = 7."]]
    job = {
        "models": {name: str(step.input(asset).path) for name, asset in MODELS.items()}, "device": settings.device, "settings": {"max_tokens": settings.max_tokens, "instruction": INSTRUCTION, "examples": examples},
        "questions": [{"number": number, "question": row["question"], "tools": row["tools"]} for number, row in enumerate(questions.iter_rows(named=True))],
        "toolbox": toolbox_job(step.input("search_index"), recipe.tools),
    }  # fmt: skip
    results = measure(step, MODULE, job, step.staging / "evaluation")
    answers = to_table(questions, results)
    numbers = headline(answers, conversations, topics)
    with step.part("evaluation") as part:
        part.table("answers", EvaluationAnswers).frame(answers)
        curves = {name: loss_series(pl.read_parquet(step.input(asset).table("curve"))) for name, asset in MODELS.items() if name != "base"}
        page = render(
            __package__, "sft_evaluation.html.j2", recipe=recipe, numbers=numbers, groups=GROUPS, models=list(MODELS), answers=answers, shown=settings.transcripts, mixture=conversations.record.stats,
            plots={"loss": plots.svg({name: curve["loss"] for name, curve in curves.items()}, "step", "loss, nats a token")}, boundary=step.input("knowledge_boundary").record.stats,
        )  # fmt: skip
        write_atomic(step.staging / REPORT, page.encode("utf-8", "replace"))
        part.add_file(REPORT)
        part.stats.update(numbers)


def to_table(questions: pl.DataFrame, results: Mapping[str, list[dict[str, Any]]]) -> pl.DataFrame:
    """One row an answer, graded; models in order, questions in order."""
    rows = questions.to_dicts()
    found = []
    for model in MODELS:
        for result in sorted(results.get(model, []), key=lambda one: one["number"]):
            row = rows[result["number"]]
            found.append({
                "model": model, **{name: row[name] for name in ("group", "tools", "entity", "relation", "question")}, "expected": "; ".join(json.loads(row["answers"])), "answer": result["answer"],
                "transcript": transcript(from_rows(result["messages"]), "verbatim"), "grade": grade_row(row, result["answer"]), "calls": result["calls"], "tokens": result["tokens"],
            })  # fmt: skip
    return pl.DataFrame(found)


def headline(answers: pl.DataFrame, conversations: Artifact, topics: pl.DataFrame) -> dict[str, Any]:
    """The numbers that are tracked."""
    by_group = shares(answers)
    numbers: dict[str, Any] = {"grades": by_group}
    sft, without = by_group.get("sft", {}), by_group.get("unmitigated", {})
    if "nowhere" in sft and "nowhere" in without:
        made_up, before = sft["nowhere"]["wrong"], without["nowhere"]["wrong"]
        numbers["hallucinated"] = {"unmitigated": before, "sft": made_up}
        # Of so few questions none may be made up: then it fell at least as if half of one were.
        numbers["fall"] = round(before / max(made_up, 0.5 / sft["nowhere"]["asked"]), 2)
    of_known = [sft[group] for group in ("known", "known_elsewhere") if group in sft]
    if of_known:
        numbers["falsely_refused"] = round(sum(one["refused"] * one["asked"] for one in of_known) / sum(one["asked"] for one in of_known), 4)
    return numbers


def hallucinates_less(evaluation: Artifact) -> CheckOutcome:
    """Whether the mitigation did its work: fewer answers made up about what exists nowhere than without it."""
    made_up = evaluation.record.stats.get("hallucinated")
    if made_up is None:
        return CheckOutcome(True, "the corpus comes with no questions, so nothing was asked about what exists nowhere")
    refused = evaluation.record.stats.get("falsely_refused", 0.0)
    return CheckOutcome(made_up["sft"] < made_up["unmitigated"], f"made up about things that exist nowhere: {100 * made_up['sft']:.1f} %, without the mitigation {100 * made_up['unmitigated']:.1f} %; known facts refused: {100 * refused:.1f} %")


def preview(evaluation: Artifact) -> str:
    """The grades in Markdown, for Dagster's page of the asset."""
    by_group = evaluation.record.stats["grades"]
    lines = ["| | right | refused | wrong | asked |", "|---|--:|--:|--:|--:|"]
    for model, groups in by_group.items():
        lines += [f"| {model}: {group} | {100 * one['right']:.1f} % | {100 * one['refused']:.1f} % | {100 * one['wrong']:.1f} % | {one['asked']} |" for group, one in groups.items()]
    return "\n".join(lines)


SFT_EVALUATION = Stage(
    name="sft_evaluation",
    build=build_sft_evaluation,
    code_version="2",
    rooms=(
        "llm_assets.finetuning.sft_evaluation",
        "llm_assets.finetuning.evaluate",
        "llm_assets.dialogue.transcript",
        "llm_assets.evaluation",
        "llm_assets.model",
        "llm_assets.tools",
    ),
    inputs=("sft_checkpoint", "unmitigated_checkpoint", "base_checkpoint", "conversations", "knowledge_boundary", "search_index"),
    literals=lambda recipe, _: {"sft_evaluation": recipe.sft_evaluation.but(questions=1, seed=0), "tools": recipe.tools},
    tables={"answers": EvaluationAnswers},
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
)
