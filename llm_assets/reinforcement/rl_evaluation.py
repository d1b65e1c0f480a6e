"""`rl_evaluation`: base, ablation, SFT and RL models on test problems, and what RL changed elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Retry, Stage, Step, View
from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.artifacts.tables import read_table
from llm_assets.evaluation import abilities
from llm_assets.evaluation.abilities import (
    INSTRUCTION,
    answers_table,
    check_abilities,
    evaluation_questions,
    question_changes,
    question_figures,
    title_of,
    wanted,
)
from llm_assets.evaluation.asking import Asking, asking, problems_job
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.figures import EVALUATION, MODELS, figures_table, find, nested, read_figures
from llm_assets.evaluation.jobs import BasePrompting
from llm_assets.evaluation.matrix import Matrix, matrix
from llm_assets.evaluation.problem_figures import (
    PASS_AT_1,
    SUITE,
    attempts_table,
    constant_figures,
    problem_changes,
    problem_figures,
)
from llm_assets.evaluation.problem_sets import family_versions
from llm_assets.evaluation.schemas import Attempts, EvaluationAnswers, EvaluationRows
from llm_assets.json_requests import EndpointUnavailable
from llm_assets.recipes.frozen import Frozen
from llm_assets.report import plots, render
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import policy_plots, scores_by_step

from .jobs import RlEvaluationJob

MODULE = "llm_assets.reinforcement.rl_evaluation_process"
REPORT, TEMPLATE = "report.html", "rl_evaluation.html.j2"
ASKED = ("base", "ablation", "sft", "rl")

# Questions and answers that prompt the base model to answer.
EXAMPLES = (
    ("What is 3 + 4?", "3 + 4 = 7."),
    ('Count the letter "b" in "bib".', "2"),
    ('Spell "tin".', "t-i-n."),
)
BASE_MAX_TOKENS = 64  # of the base model's one-line answer


class RlEvaluationConfig(Frozen):
    """How the models are evaluated. transcripts: problems per family and level whose solutions the report shows."""

    asking: Asking
    transcripts: int
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY]


def build_rl_evaluation(step: Step, config: RlEvaluationConfig) -> None:
    """One task; a separate process asks the models."""
    asking = config.asking
    problems = problems_job(step.input("practice_problems"), asking)
    questions, job_questions = evaluation_questions(step.input("conversations"), asking.split)
    job = RlEvaluationJob(
        models={name: str(step.input(MODELS[name]).path) for name in ASKED if MODELS[name] in step.inputs},
        problems=problems,
        device=config.device,
        base=BasePrompting(min(asking.max_tokens, BASE_MAX_TOKENS), INSTRUCTION, EXAMPLES),
        questions=job_questions,
        answer_tokens=asking.answer_tokens,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), asking.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    attempts = attempts_table(problems.problems, results["attempts"])
    answers = answers_table(questions, {"rl": results["answers"]}, config.asking.judge)
    of_sft, of_rl = (attempts.filter(pl.col("model") == model) for model in ("sft", "rl"))
    sft_answers = read_table(step.input("sft_evaluation").table("answers")).filter(pl.col("model") == "sft")
    figures = figures_table(
        [
            *question_figures(answers),
            *question_changes(sft_answers, answers),
            *problem_figures(attempts),
            *constant_figures(of_rl),
            *problem_changes(of_sft, of_rl),
        ]
    )
    with step.task("evaluation") as task:
        task.table("attempts", Attempts).frame(attempts)
        task.table("answers", EvaluationAnswers).frame(answers)
        task.table(EVALUATION, EvaluationRows).frame(figures)
        task.stats.update(figures=nested(figures))


def passed(figures: pl.DataFrame) -> Matrix:
    """pass@1 of every model by family and level, beside the best constant answer."""
    return matrix(figures, SUITE, PASS_AT_1)


def draw_report(evaluation: Artifact, inputs: Inputs, config: RlEvaluationConfig) -> str:
    """The HTML report on the evaluation and on the training run before it."""
    attempts, figures = read_table(evaluation.table("attempts")), read_figures(evaluation)
    checkpoint = inputs.artifact("rl_checkpoint")
    steps, scores = scores_by_step(checkpoint)
    policy_curves = {**policy_plots(read_table(checkpoint.table("curve"))), "evaluations": ""}
    if steps:
        policy_curves["evaluations"] = plots.svg(
            {"development problems": (steps, scores)}, "step", "right, greedy", marks=True
        )
    details = (f"pass@{config.asking.samples}", "greedy", "refused", "tokens", "change from sft")
    questions = read_figures(inputs.artifact("sft_evaluation"), evaluation)
    return render(
        __package__,
        TEMPLATE,
        passed=passed(figures),
        details={metric: matrix(figures, SUITE, metric, better="neither") for metric in details},
        abilities=matrix(questions, abilities.SUITE, wanted, title_of),
        changes=matrix(questions, abilities.SUITE, "change from sft", title_of, "neither"),
        attempts=attempts,
        plots=policy_curves,
        models=attempts["model"].unique(maintain_order=True).to_list(),
        shown=config.transcripts,
        training=checkpoint.record.stats,
        levels=inputs.artifact("practice_problems").record.stats["levels"],
        k=config.asking.samples,
    )


def solves_more(evaluation: Artifact, inputs: Inputs, config: RlEvaluationConfig) -> CheckOutcome:
    """Whether the RL model solves more test problems of some family than the SFT model."""
    figures = find(read_figures(evaluation), suite=SUITE)
    # The groups of whole families, without those of their levels.
    families = [group for group in figures["group"].unique(maintain_order=True) if ", level " not in group]
    changes = find(figures, metric="change from sft", group=families)
    shares = {
        (model, family): value
        for model, family, value in find(figures, metric=PASS_AT_1, group=families)
        .select("model", "group", "value")
        .iter_rows()
    }
    in_words, numbers = [], {}
    for change in changes.iter_rows(named=True):
        family = change["group"]
        before, after = shares["sft", family], shares["rl", family]
        ends = f"{100 * change['low']:+.1f} to {100 * change['high']:+.1f} points"
        in_words.append(f"{family} {100 * before:.1f} % → {100 * after:.1f} % ({ends})")
        numbers |= {f"pass@1.sft.{family}": before, f"pass@1.rl.{family}": after, f"gain.{family}": change["value"]}
    best = max(changes["value"].to_list(), default=0.0)
    summary = f"pass@1 on {config.asking.split} problems, SFT → RL: {', '.join(in_words)}"
    return CheckOutcome(best > 0, summary, numbers=numbers)


def show(evaluation: Artifact) -> dict[str, str]:
    """pass@1 in Markdown, for the asset's page in Dagster."""
    return {"summary": passed(read_figures(evaluation)).markdown()}


RL_EVALUATION = Stage(
    name="rl_evaluation",
    group="reinforcement",
    description="Base, ablation, SFT and RL models on test problems beside the best constant answer, and how "
    "reinforcement learning changed the assistant's other abilities.",
    kinds=("pytorch", "html"),
    build=build_rl_evaluation,
    config=lambda recipe, crawl: RlEvaluationConfig(
        asking=asking(recipe), transcripts=recipe.rl_evaluation.transcripts, device=recipe.rl_evaluation.device
    ),
    code_version="6",
    inputs=(
        "rl_checkpoint",
        "sft_checkpoint",
        "ablation_checkpoint",
        "base_checkpoint",
        "practice_problems",
        "conversations",
        "sft_evaluation",
        TRAINING_SEARCH,
    ),
    optional_inputs=("ablation_checkpoint",),
    external_inputs=lambda config: family_versions(config.asking.families),
    tables={EVALUATION: EvaluationRows, "attempts": Attempts, "answers": EvaluationAnswers},
    main_table=EVALUATION,
    checks=(
        Check(
            "solves_more",
            "After reinforcement learning the assistant solves more test problems of some family than before.",
            solves_more,
        ),
        Check(
            "keeps_what_it_knew", "None of the assistant's abilities fell by more than eight points.", check_abilities
        ),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
    retry=Retry(on=(EndpointUnavailable,)),
)
