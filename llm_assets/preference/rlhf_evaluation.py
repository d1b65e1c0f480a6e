"""`rlhf_evaluation`: all models on open prompts that none of them was tuned on, scored by the gold signal.

The RLHF model, which is the released one, is also asked the questions and the problems of the evaluation suite.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Retry, Stage, Step, View
from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.artifacts.tables import read_table
from llm_assets.evaluation import abilities, problem_figures
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
from llm_assets.evaluation.figures import (
    EVALUATION,
    MODELS,
    Row,
    figures_table,
    find,
    nested,
    read_figures,
    row,
    value_of,
)
from llm_assets.evaluation.intervals import Estimate
from llm_assets.evaluation.jobs import BasePrompting
from llm_assets.evaluation.matrix import OPEN_ANSWERS, matrix, metric_matrix, text
from llm_assets.evaluation.problem_figures import attempts_table, problem_changes
from llm_assets.evaluation.problem_sets import family_versions
from llm_assets.evaluation.schemas import Attempts, EvaluationAnswers, EvaluationRows
from llm_assets.json_requests import EndpointUnavailable
from llm_assets.recipes.frozen import Frozen
from llm_assets.report import plots, render
from llm_assets.sample_web.ground_truth import read_truth
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import monitor_series, policy_plots

from . import open_answers
from .jobs import RlhfEvaluationJob
from .open_answers import GROUP, SUITE, base_examples, open_figures
from .reward_checkpoint import RULE, GoldSignal, gold_signal, read_scores, reliability
from .rlhf_checkpoint import gold_job, monitor_evaluations, read_prompts
from .schemas import Answers

MODULE = "llm_assets.preference.rlhf_evaluation_process"
REPORT, TEMPLATE = "report.html", "rlhf_evaluation.html.j2"
PREFERENCE, PAIRS = "preference", "test pairs"
OUTCOMES = ("better than sft", "equal to sft", "worse than sft", "preferred to sft")


class RlhfEvaluationConfig(Frozen):
    """How the models are evaluated.

    samples, temperature, max_tokens, seed: of the answers to open prompts. transcripts: prompts whose answers the
    report shows.
    """

    asking: Asking
    gold: GoldSignal
    samples: int
    temperature: float
    max_tokens: int
    seed: int
    transcripts: int
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY]


def rlhf_evaluation_config(recipe: Any, crawl: str | None) -> RlhfEvaluationConfig:
    settings = recipe.rlhf_evaluation
    return RlhfEvaluationConfig(
        asking=asking(recipe),
        gold=gold_signal(recipe.human_rankings),
        samples=settings.samples,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
        transcripts=settings.transcripts,
        device=settings.device,
    )


def build_rlhf_evaluation(step: Step, config: RlhfEvaluationConfig) -> None:
    """One task; a separate process asks the models."""
    asking, reward, pairs = config.asking, step.input("reward_checkpoint"), step.input("response_pairs")
    models = {name: step.input(asset) for name, asset in MODELS.items() if asset in step.inputs}
    prompts = read_prompts(pairs, asking.split)
    problems = problems_job(step.inputs.get("practice_problems"), asking)
    questions, job_questions = evaluation_questions(step.input("conversations"), asking.split)
    topics = read_table(step.input("knowledge_boundary").table("topics"))
    truth = read_truth(step.inputs)
    job = RlhfEvaluationJob(
        models={name: str(checkpoint.path) for name, checkpoint in models.items()},
        prompts=tuple(prompts),
        reward=str(reward.path),
        gold=gold_job(config.gold, reward, truth),
        truth=truth,
        samples=config.samples,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        seed=config.seed,
        device=config.device,
        base=BasePrompting(config.max_tokens, INSTRUCTION, base_examples(read_table(pairs.table("prompts")), topics)),
        problems=problems,
        questions=job_questions,
        answer_tokens=asking.answer_tokens,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), asking.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    open_rows = open_answers.answers_table(prompts, results["responses"], truth)
    attempts = attempts_table(problems.problems, {"rlhf": results["attempts"]})
    answers = answers_table(questions, {"rlhf": results["answers"]}, config.asking.judge)
    figures = figures_table(
        [
            *question_figures(answers),
            *problem_figures.problem_figures(attempts),
            *changes_before(step.inputs, answers, attempts),
            *open_figures(open_rows),
            *order_figures(reward),
        ]
    )
    with step.task("evaluation") as task:
        task.table("open_answers", Answers).frame(open_rows)
        task.table("attempts", Attempts).frame(attempts)
        task.table("answers", EvaluationAnswers).frame(answers)
        task.table(EVALUATION, EvaluationRows).frame(figures)
        task.stats.update(figures=nested(figures))


def changes_before(inputs: Inputs, answers: pl.DataFrame, attempts: pl.DataFrame) -> list[Row]:
    """How the answers and the attempts of a tuned policy changed since SFT and, if the recipe has it, since RL."""
    rows: list[Row] = []
    for model in ("sft", "rl"):
        if f"{model}_evaluation" not in inputs:
            continue
        is_model = pl.col("model") == model
        rows += question_changes(
            read_table(inputs.artifact(f"{model}_evaluation").table("answers")).filter(is_model), answers
        )
        if len(attempts):
            before = read_table(inputs.artifact("rl_evaluation").table("attempts"))
            rows += problem_changes(before.filter(is_model), attempts)
    return rows


def order_figures(reward: Artifact) -> list[Row]:
    """How often the reward model, rules that cost nothing and another labeller order the test pairs as a labeller did.

    The ceiling is what the labellers' noise leaves to any model.
    """
    orders = reward.record.stats["orders"]
    return [row(name, PREFERENCE, PAIRS, "ordered alike", Estimate(**order)) for name, order in orders.items()]


def draw_report(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> str:
    """The HTML report on the evaluation, and on the reward model and the tuning before it."""
    answers, figures = read_table(evaluation.table("open_answers")), read_figures(evaluation)
    of_stages = (inputs.artifact(name) for name in ("sft_evaluation", "rl_evaluation") if name in inputs)
    suite = pl.concat([*map(read_figures, of_stages), figures])
    reward, rlhf = inputs.artifact("reward_checkpoint"), inputs.artifact("rlhf_checkpoint")
    monitor, calibration = monitor_series(monitor_evaluations(rlhf)), reliability(read_scores(reward))
    curves = {
        **policy_plots(read_table(rlhf.table("curve"))),
        "monitor": plots.svg(
            monitor, "divergence, nats per token", "score, standard deviations at the start", marks=True
        ),
        "calibration": plots.svg(calibration, "predicted chance", "observed share", marks=True),
    }
    adversarial = [read_table(path) for path in rlhf.table("adversarial")]
    known = any(raw.table("truth_facts") for raw in inputs.by_crawl("raw_warc").values())
    return render(
        __package__,
        TEMPLATE,
        open=metric_matrix(figures, SUITE, GROUP, OPEN_ANSWERS),
        orders=find(figures, suite=PREFERENCE).to_dicts(),
        abilities=matrix(suite, abilities.SUITE, wanted, title_of),
        passed=matrix(suite, problem_figures.SUITE, problem_figures.PASS_AT_1),
        changes={
            before: matrix(figures, abilities.SUITE, f"change from {before}", title_of, "neither")
            for before in ("sft", "rl")
        },
        answers=answers,
        plots=curves,
        models=[name for name, asset in MODELS.items() if asset in inputs],
        shown=config.transcripts,
        training=rlhf.record.stats,
        reward=reward.record.stats,
        simulated=config.gold == RULE,
        truth=known,
        adversarial=pl.concat(adversarial).sort("gold").head(config.transcripts).to_dicts() if adversarial else [],
    )


def preferred_more(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> CheckOutcome:
    """Whether the gold signal prefers RLHF's answers to SFT's where it prefers either."""
    figures = find(read_figures(evaluation), suite=SUITE, group=GROUP)
    compared = {
        metric: {row["model"]: row for row in find(figures, metric=metric).iter_rows(named=True)} for metric in OUTCOMES
    }
    numbers = {f"{metric}.{model}": row["value"] for metric, rows in compared.items() for model, row in rows.items()}
    for score in ("gold", "proxy"):
        by_model = find(figures, metric=score).select("model", "value")
        numbers |= {f"{score}.{model}": value for model, value in by_model.iter_rows()}
    in_words = ", ".join(f"{text(metric, compared[metric]['rlhf']['value'])} {metric}" for metric in OUTCOMES[:3])
    summary = f"of {compared[OUTCOMES[0]]['rlhf']['n']:,} answers to {config.asking.split} prompts, {in_words}"
    if preferred := compared[OUTCOMES[3]].get("rlhf"):
        summary += f"; preferred where not equal: {_interval(preferred)}"
    return CheckOutcome(bool(preferred and preferred["value"] > 0.5), summary, numbers=numbers)


def _interval(row: Row) -> str:
    ends = f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"
    return f"{100 * row['value']:.1f} % ({ends}, n = {row['n']:,})"


def stays_true(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> CheckOutcome:
    """Whether preference tuning made the statements of open answers less true than those of SFT."""
    figures = find(read_figures(evaluation), suite=SUITE, group=GROUP)
    precision = {row["model"]: row for row in find(figures, metric="precision").iter_rows(named=True)}
    if not {"sft", "rlhf"} <= precision.keys():
        return CheckOutcome(True, "no statement could be checked: the corpus comes without ground truth")
    false = {model: value_of(figures, model=model, metric="false") for model in precision}
    shares = ", ".join(f"{model} {_interval(row)}, {false[model]:.2f} false" for model, row in precision.items())
    numbers = {f"precision.{model}": row["value"] for model, row in precision.items()}
    numbers |= {f"false.{model}": value for model, value in false.items()}
    passed = precision["rlhf"]["high"] >= precision["sft"]["low"]
    return CheckOutcome(passed, f"true among checkable statements, and false ones per answer: {shares}", [], numbers)


def show(evaluation: Artifact) -> dict[str, str]:
    """Scores, comparisons and fact precision in Markdown, for the asset's page in Dagster."""
    return {"summary": metric_matrix(read_figures(evaluation), SUITE, GROUP, OPEN_ANSWERS).markdown()}


RLHF_EVALUATION = Stage(
    name="rlhf_evaluation",
    group="preference",
    description="All models on open test prompts, scored by the gold signal and the ground truth; the released model "
    "on the questions and problems of the other evaluations.",
    kinds=("pytorch", "html"),
    build=build_rlhf_evaluation,
    config=rlhf_evaluation_config,
    code_version="6",
    inputs=(
        "rlhf_checkpoint",
        "rl_checkpoint",
        "sft_checkpoint",
        "ablation_checkpoint",
        "base_checkpoint",
        "reward_checkpoint",
        "response_pairs",
        "practice_problems",
        "conversations",
        "knowledge_boundary",
        "sft_evaluation",
        "rl_evaluation",
        TRAINING_SEARCH,
        "raw_warc",
    ),
    optional_inputs=("rl_checkpoint", "ablation_checkpoint", "practice_problems", "rl_evaluation", "raw_warc"),
    crawls=lambda recipe: recipe.trained_crawls(),
    external_inputs=lambda config: family_versions(config.asking.families),
    tables={
        EVALUATION: EvaluationRows,
        "open_answers": Answers,
        "attempts": Attempts,
        "answers": EvaluationAnswers,
    },
    main_table=EVALUATION,
    checks=(
        Check("preferred_to_sft", "On test prompts the gold signal prefers RLHF's answers to SFT's.", preferred_more),
        Check("stays_true", "Preference tuning does not make open answers less true than they were.", stays_true),
        Check(
            "keeps_what_it_learnt", "None of the assistant's abilities fell by more than eight points.", check_abilities
        ),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
    retry=Retry(on=(EndpointUnavailable,)),
)
