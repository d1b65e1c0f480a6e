"""`sft_evaluation`: what the assistant answers, refuses and makes up.

It is compared with the base model, which is prompted with examples, and with the ablation. `conversations` fixed the
questions before anything was trained.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.identity import EXECUTION_ONLY, OMITTED_IF_NONE
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Retry, Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.artifacts.views import View
from llm_assets.dialogue.splits import TRAIN, HeldOutSplit
from llm_assets.evaluation.abilities import (
    GROUPS,
    INSTRUCTION,
    SUITE,
    answers_table,
    evaluation_questions,
    question_figures,
    title_of,
    wanted,
)
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.figures import EVALUATION, MODELS, figures_table, find, nested, read_figures
from llm_assets.evaluation.jobs import BasePrompting
from llm_assets.evaluation.matrix import matrix
from llm_assets.evaluation.question_baselines import baseline_answers
from llm_assets.evaluation.schemas import GRADES, EvaluationAnswers, EvaluationRows
from llm_assets.json_requests import EndpointUnavailable
from llm_assets.recipes import Endpoint, Tools
from llm_assets.recipes.frozen import Frozen
from llm_assets.report import plots, render
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.training_run import loss_series

from .jobs import SftEvaluationJob

MODULE = "llm_assets.finetuning.sft_evaluation_process"
REPORT = "report.html"
TEMPLATE = "sft_evaluation.html.j2"
ASKED = ("base", "ablation", "sft")
KNOWN_GROUPS = ("known", "known_elsewhere")
FICTITIOUS = "fictitious"
FALSE_REFUSALS = 0.1  # share of known facts refused at which models are compared on the trade-off curve
EXAMPLES = (("What is the colour of tomorrow?", "I don't know."), ("What is 3 + 4?", "3 + 4 = 7."))


class SftEvaluationConfig(Frozen):
    """How the questions of `conversations` are asked.

    transcripts: answers per group in the report. judge: the endpoint that grades answers to the user's own questions.
    """

    split: HeldOutSplit
    max_tokens: int
    transcripts: int
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY]
    tools: Tools
    judge: Annotated[Endpoint | None, OMITTED_IF_NONE] = None


def sft_evaluation_config(recipe: Any, crawl: str | None) -> SftEvaluationConfig:
    settings = recipe.sft_evaluation
    return SftEvaluationConfig(
        split=recipe.evaluation_split,
        max_tokens=settings.max_tokens,
        transcripts=settings.transcripts,
        device=settings.device,
        tools=recipe.tools,
        judge=settings.judge,
    )


def build_sft_evaluation(step: Step, config: SftEvaluationConfig) -> None:
    """One task; a separate process asks the models."""
    questions, job_questions = evaluation_questions(step.input("conversations"), config.split)
    topics = read_table(step.input("knowledge_boundary").table("topics"))
    known = topics.filter((pl.col("verdict") == "known") & (pl.col("split") == TRAIN))
    example_topics = known.unique("relation", maintain_order=True).head(3).to_dicts()
    examples = (*((json.loads(row["questions"])[0], row["sentence"]) for row in example_topics), *EXAMPLES)
    job = SftEvaluationJob(
        models={name: str(step.input(MODELS[name]).path) for name in ASKED if MODELS[name] in step.inputs},
        device=config.device,
        max_tokens=config.max_tokens,
        base=BasePrompting(config.max_tokens, INSTRUCTION, examples),
        questions=job_questions,
        refusals=tuple(step.input("conversations").record.stats["refusals"].values()),
        refusable=tuple(
            question.number
            for question, group in zip(job_questions, questions["group"], strict=True)
            if group in (*KNOWN_GROUPS, FICTITIOUS) and not question.tools
        ),
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    answers = answers_table(questions, results, config.judge)
    baselines = baseline_answers(questions, topics)
    figures = figures_table([*question_figures(answers), *question_figures(baselines)])
    with step.task("evaluation") as task:
        task.table("answers", EvaluationAnswers).frame(answers)
        task.table(EVALUATION, EvaluationRows).frame(figures)
        task.stats.update(headline(figures, answers))


def headline(figures: pl.DataFrame, answers: pl.DataFrame) -> dict[str, Any]:
    """The numbers that are tracked.

    figures: the table `evaluation`, nested. hallucinated: share of questions about fictitious entities for which the
    ablation and the assistant made up an answer; reduction: by what factor the assistant lowers it. falsely_refused:
    share of known facts that the assistant refused to answer. trade_off: by model, the point of its trade-off curve
    with the fewest made-up answers at which at most a tenth of the known facts is refused.
    """
    numbers: dict[str, Any] = {"figures": nested(figures)}
    made_up = find(figures, suite=SUITE, group=FICTITIOUS, metric="wrong", model=("ablation", "sft"))
    if len(made_up) == 2:  # a recipe may leave out the ablation
        by_model = dict(made_up.select("model", "value").iter_rows())
        numbers["hallucinated"] = by_model
        # With few questions the assistant may make up no answer at all. The factor is then computed as if it had made
        # up half an answer.
        numbers["reduction"] = round(by_model["ablation"] / max(by_model["sft"], 0.5 / made_up["n"][0]), 2)
    for model in ("ablation", "sft"):
        affordable = [point for point in trade_off(answers, model) if point["falsely_refused"] <= FALSE_REFUSALS]
        if affordable:
            numbers.setdefault("trade_off", {})[model] = min(affordable, key=lambda point: point["made_up"])
    known = answers.filter((pl.col("model") == "sft") & pl.col("group").is_in(KNOWN_GROUPS))
    if len(known):
        numbers["falsely_refused"] = round(float((known["grade"] == "refused").mean()), 4)  # type: ignore[arg-type]
    return numbers


def trade_off(answers: pl.DataFrame, model: str) -> list[dict[str, float]]:
    """What the model would make up and falsely refuse if it refused from some probability of a refusal on.

    A point for each threshold, highest first: the share of fictitious entities about which it would make something up,
    and the share of known facts that it would refuse. Empty where nothing was measured. The ablation's curve shows
    whether training on refusals taught it anything that the probabilities did not already tell.
    """
    measured = answers.filter((pl.col("model") == model) & pl.col("refusal").is_not_null())
    known = measured.filter(pl.col("group").is_in(KNOWN_GROUPS))["refusal"]
    fictitious = measured.filter(pl.col("group") == FICTITIOUS)["refusal"]
    if known.is_empty() or fictitious.is_empty():
        return []
    thresholds = [1.1, *sorted({*known, *fictitious}, reverse=True)]
    return [
        {
            "threshold": threshold,
            "made_up": round(float((fictitious < threshold).mean()), 4),  # type: ignore[arg-type]
            "falsely_refused": round(float((known >= threshold).mean()), 4),  # type: ignore[arg-type]
        }
        for threshold in thresholds
    ]


def draw_report(evaluation: Artifact, inputs: Inputs, config: SftEvaluationConfig) -> str:
    """The HTML report: grades, training loss, the mixture, transcripts."""
    answers, figures = read_table(evaluation.table("answers")), read_figures(evaluation)
    curves = {
        name: loss_series(read_table(inputs.artifact(MODELS[name]).table("curve")))["loss"]
        for name in ("ablation", "sft")
        if MODELS[name] in inputs
    }
    trade_offs = {
        model: ([point["falsely_refused"] for point in points], [point["made_up"] for point in points])
        for model in ("ablation", "sft")
        if (points := trade_off(answers, model))
    }
    return render(
        __package__,
        TEMPLATE,
        numbers=evaluation.record.stats,
        matrix=matrix(figures, SUITE, wanted, title_of),
        grades={metric: matrix(figures, SUITE, metric, title_of, "neither") for metric in (*GRADES, "tokens")},
        groups=GROUPS,
        answers=answers,
        shown=config.transcripts,
        mixture=inputs.artifact("conversations").record.stats,
        boundary=inputs.artifact("knowledge_boundary").record.stats,
        plots={
            "loss": plots.svg(curves, "step", "loss, nats per token"),
            "trade_off": plots.svg(trade_offs, "known facts refused", "answers made up") if trade_offs else "",
        },
    )


def hallucinates_less(evaluation: Artifact, inputs: Inputs, config: SftEvaluationConfig) -> CheckOutcome:
    """Whether the assistant makes up fewer answers about fictitious entities than the ablation."""
    hallucinated = evaluation.record.stats.get("hallucinated")
    if hallucinated is None:
        reason = "not compared with the ablation, as the recipe does not ask for it (compare_with_ablation)"
        if MODELS["ablation"] in inputs:
            reason = "the corpus comes with no questions, so nothing was asked about fictitious entities"
        return CheckOutcome(True, reason)
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
    return {"summary": matrix(read_figures(evaluation), SUITE, wanted, title_of).markdown()}


SFT_EVALUATION = Stage(
    name="sft_evaluation",
    group="finetuning",
    description="What the assistant answers, refuses and makes up, with and without tools, compared with the base "
    "model and the ablation.",
    kinds=("pytorch", "html"),
    build=build_sft_evaluation,
    config=sft_evaluation_config,
    code_version="7",
    inputs=(
        "sft_checkpoint",
        "ablation_checkpoint",
        "base_checkpoint",
        "conversations",
        "knowledge_boundary",
        TRAINING_SEARCH,
    ),
    optional_inputs=("ablation_checkpoint",),
    tables={EVALUATION: EvaluationRows, "answers": EvaluationAnswers},
    main_table=EVALUATION,
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
    retry=Retry(on=(EndpointUnavailable,)),
)
