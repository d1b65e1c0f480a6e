"""`dpo_evaluation`: the policy after DPO on the questions and the problems of the evaluation suite."""

from __future__ import annotations

from typing import Annotated, Literal

from llm_assets.artifacts import Artifact, Check, Retry, Stage, Step
from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.evaluation import abilities
from llm_assets.evaluation.abilities import (
    answers_table,
    check_abilities,
    evaluation_questions,
    question_figures,
    title_of,
    wanted,
)
from llm_assets.evaluation.asking import Asking, asking, problems_job
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.figures import EVALUATION, figures_table, nested, read_figures
from llm_assets.evaluation.matrix import matrix
from llm_assets.evaluation.problem_figures import attempts_table, problem_figures
from llm_assets.evaluation.problem_sets import family_versions
from llm_assets.evaluation.schemas import Attempts, EvaluationAnswers, EvaluationRows
from llm_assets.json_requests import EndpointUnavailable
from llm_assets.recipes.frozen import Frozen
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job

from .dpo_checkpoint import DPO_CHECKPOINT
from .jobs import DpoEvaluationJob
from .rlhf_evaluation import changes_before, order_figures

MODULE = "llm_assets.preference.dpo_evaluation_process"
MODEL = "dpo"  # its name among the figures


class DpoEvaluationConfig(Frozen):
    """How the model is asked."""

    asking: Asking
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY]


def build_dpo_evaluation(step: Step, config: DpoEvaluationConfig) -> None:
    """One task; a separate process asks the model."""
    checkpoint = step.input(DPO_CHECKPOINT.name)
    problems = problems_job(step.inputs.get("practice_problems"), config.asking)
    questions, job_questions = evaluation_questions(step.input("conversations"), config.asking.split)
    job = DpoEvaluationJob(
        checkpoint=str(checkpoint.path),
        device=config.device,
        problems=problems,
        questions=job_questions,
        answer_tokens=config.asking.answer_tokens,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.asking.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    attempts = attempts_table(problems.problems, {MODEL: results["attempts"]})
    answers = answers_table(questions, {MODEL: results["answers"]}, config.asking.judge)
    figures = figures_table(
        [
            *question_figures(answers),
            *problem_figures(attempts),
            *changes_before(step.inputs, answers, attempts),
            *order_figures(checkpoint),
        ]
    )
    with step.task("evaluation") as task:
        task.table("attempts", Attempts).frame(attempts)
        task.table("answers", EvaluationAnswers).frame(answers)
        task.table(EVALUATION, EvaluationRows).frame(figures)
        task.stats.update(figures=nested(figures))


def show(evaluation: Artifact) -> dict[str, str]:
    """The share of the desired outcome by group of questions, in Markdown."""
    return {"summary": matrix(read_figures(evaluation), abilities.SUITE, wanted, title_of).markdown()}


DPO_EVALUATION = Stage(
    name="dpo_evaluation",
    group="preference",
    description="The policy after DPO on the questions and problems of the other evaluations, and how often it orders "
    "the two answers of a test ranking as the labeller did.",
    kinds=("pytorch", "parquet"),
    build=build_dpo_evaluation,
    config=lambda recipe, crawl: DpoEvaluationConfig(asking=asking(recipe), device=recipe.sft_evaluation.device),
    code_version="3",
    inputs=(
        DPO_CHECKPOINT.name,
        "practice_problems",
        "conversations",
        "sft_evaluation",
        "rl_evaluation",
        TRAINING_SEARCH,
    ),
    optional_inputs=("practice_problems", "rl_evaluation"),
    external_inputs=lambda config: family_versions(config.asking.families),
    tables={EVALUATION: EvaluationRows, "attempts": Attempts, "answers": EvaluationAnswers},
    main_table=EVALUATION,
    checks=(
        Check(
            "keeps_what_it_learnt", "None of the assistant's abilities fell by more than eight points.", check_abilities
        ),
    ),
    show=show,
    libraries=("torch", "numpy", "polars", "pydantic-monty"),
    pool="gpu",
    retry=Retry(on=(EndpointUnavailable,)),
    on_demand=DPO_CHECKPOINT.on_demand,
)
