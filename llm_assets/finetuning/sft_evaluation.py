"""`sft_evaluation`: what the assistant answers, refuses and makes up, compared with the base model after a prompt and
with the same training without the mitigation. `conversations` fixed the questions before anything was trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import View
from llm_assets.dialogue.transcript import from_rows, transcript
from llm_assets.evaluation.abilities import GROUPS, INSTRUCTION, grade_row, questions_again, shares
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.jobs import BasePrompting
from llm_assets.recipes import Tools
from llm_assets.recipes.frozen import Frozen
from llm_assets.report import plots, render
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.training_run import loss_series

from .jobs import SftEvaluationJob
from .schemas import EvaluationAnswers

MODULE = "llm_assets.finetuning.sft_evaluation_process"
REPORT = "report.html"
TEMPLATE = "sft_evaluation.html.j2"
MODELS = {"base": "base_checkpoint", "ablation": "ablation_checkpoint", "sft": "sft_checkpoint"}
EXAMPLES = (("What is the colour of tomorrow?", "I don't know."), ("What is 3 + 4?", "3 + 4 = 7."))


class SftEvaluationConfig(Frozen):
    """How questions are asked; `conversations` decides which. transcripts: answers of each group in the report."""

    max_tokens: int
    transcripts: int
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY]
    tools: Tools


def sft_evaluation_config(recipe: Any, crawl: str | None) -> SftEvaluationConfig:
    settings = recipe.sft_evaluation
    return SftEvaluationConfig(
        max_tokens=settings.max_tokens,
        transcripts=settings.transcripts,
        device=settings.device,
        tools=recipe.tools,
    )


def build_sft_evaluation(step: Step, config: SftEvaluationConfig) -> None:
    """One part; the asking runs in a process of its own."""
    questions, again = questions_again(step.input("conversations"))
    topics = pl.concat([pl.read_parquet(path) for path in step.input("knowledge_boundary").table("topics")])
    known = topics.filter((pl.col("verdict") == "known") & ~pl.col("kept_apart"))
    shown = known.unique("relation", maintain_order=True).head(3).to_dicts()
    examples = (*((json.loads(row["questions"])[0], row["sentence"]) for row in shown), *EXAMPLES)
    job = SftEvaluationJob(
        models={name: str(step.input(asset).path) for name, asset in MODELS.items()},
        device=config.device,
        max_tokens=config.max_tokens,
        base=BasePrompting(config.max_tokens, INSTRUCTION, examples),
        questions=again,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    answers = to_table(questions, results)
    with step.task("evaluation") as task:
        task.table("answers", EvaluationAnswers).frame(answers)
        task.stats.update(headline(answers))


def to_table(questions: pl.DataFrame, results: Mapping[str, list[dict[str, Any]]]) -> pl.DataFrame:
    """One row an answer, graded; models in order, questions in order."""
    rows = questions.to_dicts()
    found = []
    for model in MODELS:
        for result in sorted(results.get(model, []), key=lambda one: one["number"]):
            row = rows[result["number"]]
            found.append(
                {
                    "model": model,
                    **{name: row[name] for name in ("group", "tools", "entity", "relation", "question")},
                    "expected": "; ".join(json.loads(row["answers"])),
                    "answer": result["answer"],
                    "transcript": transcript(from_rows(result["messages"]), "verbatim"),
                    "grade": grade_row(row, result["answer"]),
                    "calls": result["calls"],
                    "tokens": result["tokens"],
                }
            )
    return pl.DataFrame(found)


def headline(answers: pl.DataFrame) -> dict[str, Any]:
    """Shares of grades by model and group; answers made up about fictitious entities, with and without the mitigation;
    known facts refused.
    """
    by_group = shares(answers)
    numbers: dict[str, Any] = {"grades": by_group}
    sft, without = by_group.get("sft", {}), by_group.get("ablation", {})
    if "fictitious" in sft and "fictitious" in without:
        made_up, before = sft["fictitious"]["wrong"], without["fictitious"]["wrong"]
        numbers["hallucinated"] = {"ablation": before, "sft": made_up}
        # Of so few questions none may be made up: then it fell at least as if half of one were.
        numbers["fall"] = round(before / max(made_up, 0.5 / sft["fictitious"]["asked"]), 2)
    of_known = [sft[group] for group in ("known", "known_elsewhere") if group in sft]
    if of_known:
        refused = sum(one["refused"] * one["asked"] for one in of_known)
        numbers["falsely_refused"] = round(refused / sum(one["asked"] for one in of_known), 4)
    return numbers


def draw_report(evaluation: Artifact, inputs: Inputs, config: SftEvaluationConfig) -> str:
    """The page: grades, loss of training, the mixture, transcripts."""
    answers = pl.concat([pl.read_parquet(path) for path in evaluation.table("answers")])
    curves = {
        name: loss_series(pl.read_parquet(inputs.artifact(asset).table("curve")))["loss"]
        for name, asset in MODELS.items()
        if name != "base"
    }
    return render(
        __package__,
        TEMPLATE,
        numbers=headline(answers),
        groups=GROUPS,
        models=list(MODELS),
        answers=answers,
        shown=config.transcripts,
        mixture=inputs.artifact("conversations").record.stats,
        boundary=inputs.artifact("knowledge_boundary").record.stats,
        plots={"loss": plots.svg(curves, "step", "loss, nats a token")},
    )


def hallucinates_less(evaluation: Artifact, inputs: Inputs, config: SftEvaluationConfig) -> CheckOutcome:
    """Whether the mitigation did its work: fewer answers made up about fictitious entities than without it."""
    made_up = evaluation.record.stats.get("hallucinated")
    if made_up is None:
        return CheckOutcome(True, "the corpus comes with no questions, so nothing was asked about fictitious entities")
    refused = evaluation.record.stats.get("falsely_refused", 0.0)
    summary = (
        f"made up about fictitious entities: {100 * made_up['sft']:.1f} %, without the mitigation "
        f"{100 * made_up['ablation']:.1f} %; known facts refused: {100 * refused:.1f} %"
    )
    numbers = {
        "hallucinated": made_up["sft"],
        "hallucinated_without_mitigation": made_up["ablation"],
        "falsely_refused": refused,
    }
    return CheckOutcome(made_up["sft"] < made_up["ablation"], summary, numbers=numbers)


def show_evaluation(evaluation: Artifact) -> dict[str, str]:
    """The grades in Markdown."""
    lines = ["| | right | refused | wrong | asked |", "|---|--:|--:|--:|--:|"]
    for model, groups in evaluation.record.stats["grades"].items():
        for group, one in groups.items():
            cells = (f"{100 * one[grade]:.1f} %" for grade in ("right", "refused", "wrong"))
            lines.append(f"| {model}: {group} | {' | '.join(cells)} | {one['asked']} |")
    return {"summary": "\n".join(lines)}


SFT_EVALUATION = Stage(
    name="sft_evaluation",
    group="finetuning",
    description="What the assistant answers, refuses and makes up, with and without tools, compared with the base "
    "model and with the training without the mitigation.",
    kinds=("pytorch", "html"),
    build=build_sft_evaluation,
    config=sft_evaluation_config,
    code_version="2",
    inputs=(
        "sft_checkpoint",
        "ablation_checkpoint",
        "base_checkpoint",
        "conversations",
        "knowledge_boundary",
        TRAINING_SEARCH,
    ),
    tables={"answers": EvaluationAnswers},
    main_table="answers",
    checks=(
        Check(
            "fewer_hallucinations",
            "Fewer answers are made up about fictitious entities than without the mitigation.",
            hallucinates_less,
        ),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show_evaluation,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
)
