"""`sft_evaluation`: what the assistant answers, refuses and makes up.

It is compared with the base model, which is prompted with examples, and with the ablation. `conversations` fixed the
questions before anything was trained.
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
from llm_assets.artifacts.tables import read_table
from llm_assets.artifacts.views import View
from llm_assets.dialogue.transcript import from_rows, transcript
from llm_assets.evaluation.abilities import GROUPS, INSTRUCTION, evaluation_questions, grade_row, grade_shares
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
    """How the questions of `conversations` are asked. transcripts: answers per group in the report."""

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
    """One task; a separate process asks the models."""
    questions, job_questions = evaluation_questions(step.input("conversations"))
    topics = read_table(step.input("knowledge_boundary").table("topics"))
    known = topics.filter((pl.col("verdict") == "known") & ~pl.col("held_out"))
    example_topics = known.unique("relation", maintain_order=True).head(3).to_dicts()
    examples = (*((json.loads(row["questions"])[0], row["sentence"]) for row in example_topics), *EXAMPLES)
    job = SftEvaluationJob(
        models={name: str(step.input(asset).path) for name, asset in MODELS.items()},
        device=config.device,
        max_tokens=config.max_tokens,
        base=BasePrompting(config.max_tokens, INSTRUCTION, examples),
        questions=job_questions,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    answers = to_table(questions, results)
    with step.task("evaluation") as task:
        task.table("answers", EvaluationAnswers).frame(answers)
        task.stats.update(headline(answers))


def to_table(questions: pl.DataFrame, results: Mapping[str, list[dict[str, Any]]]) -> pl.DataFrame:
    """One graded row per answer (schema EvaluationAnswers), by model and then by question."""
    question_rows = questions.to_dicts()
    answers = []
    for model in MODELS:
        for result in sorted(results.get(model, []), key=lambda result: result["number"]):
            row = question_rows[result["number"]]
            answers.append(
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
    return pl.DataFrame(answers)


def headline(answers: pl.DataFrame) -> dict[str, Any]:
    """The numbers that are tracked.

    grades: shares of grades by model and group. hallucinated: share of questions about fictitious entities for which
    the ablation and the assistant made up an answer; reduction: by what factor the assistant lowers it.
    falsely_refused: share of known facts that the assistant refused to answer.
    """
    grades = grade_shares(answers)
    numbers: dict[str, Any] = {"grades": grades}
    sft, ablation = grades.get("sft", {}), grades.get("ablation", {})
    if "fictitious" in sft and "fictitious" in ablation:
        sft_share, ablation_share = sft["fictitious"]["wrong"], ablation["fictitious"]["wrong"]
        numbers["hallucinated"] = {"ablation": ablation_share, "sft": sft_share}
        # With few questions the assistant may make up no answer at all. The factor is then computed as if it had made
        # up half an answer.
        least_share = 0.5 / sft["fictitious"]["questions"]
        numbers["reduction"] = round(ablation_share / max(sft_share, least_share), 2)
    known_groups = [sft[group] for group in ("known", "known_elsewhere") if group in sft]
    if known_groups:
        refused = sum(group["refused"] * group["questions"] for group in known_groups)
        numbers["falsely_refused"] = round(refused / sum(group["questions"] for group in known_groups), 4)
    return numbers


def draw_report(evaluation: Artifact, inputs: Inputs, config: SftEvaluationConfig) -> str:
    """The HTML report: grades, training loss, the mixture, transcripts."""
    answers = read_table(evaluation.table("answers"))
    curves = {
        name: loss_series(read_table(inputs.artifact(asset).table("curve")))["loss"]
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
        plots={"loss": plots.svg(curves, "step", "loss, nats per token")},
    )


def hallucinates_less(evaluation: Artifact, inputs: Inputs, config: SftEvaluationConfig) -> CheckOutcome:
    """Whether the assistant makes up fewer answers about fictitious entities than the ablation."""
    hallucinated = evaluation.record.stats.get("hallucinated")
    if hallucinated is None:
        return CheckOutcome(True, "the corpus comes with no questions, so nothing was asked about fictitious entities")
    refused = evaluation.record.stats.get("falsely_refused", 0.0)
    summary = (
        f"invented answers about fictitious entities: SFT {100 * hallucinated['sft']:.1f} %, ablation "
        f"{100 * hallucinated['ablation']:.1f} %; known facts refused: {100 * refused:.1f} %"
    )
    numbers = {
        "hallucinated": hallucinated["sft"],
        "hallucinated_by_ablation": hallucinated["ablation"],
        "falsely_refused": refused,
    }
    return CheckOutcome(hallucinated["sft"] < hallucinated["ablation"], summary, numbers=numbers)


def show_evaluation(evaluation: Artifact) -> dict[str, str]:
    """The grades in Markdown."""
    lines = ["| | right | refused | wrong | questions |", "|---|--:|--:|--:|--:|"]
    for model, groups in evaluation.record.stats["grades"].items():
        for group, grades in groups.items():
            cells = (f"{100 * grades[grade]:.1f} %" for grade in ("right", "refused", "wrong"))
            lines.append(f"| {model}: {group} | {' | '.join(cells)} | {grades['questions']} |")
    return {"summary": "\n".join(lines)}


SFT_EVALUATION = Stage(
    name="sft_evaluation",
    group="finetuning",
    description="What the assistant answers, refuses and makes up, with and without tools, compared with the base "
    "model and the ablation.",
    kinds=("pytorch", "html"),
    build=build_sft_evaluation,
    config=sft_evaluation_config,
    code_version="4",
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
            "The assistant makes up fewer answers about fictitious entities than the ablation.",
            hallucinates_less,
        ),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show_evaluation,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
)
