"""`rlhf_evaluation`: SFT, RL and RLHF models on prompts that none of them was tuned on, scored by the gold signal.

It also measures how preference tuning changed the assistant's other abilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step, View
from llm_assets.artifacts.tables import read_table
from llm_assets.evaluation.abilities import (
    ability_changes,
    check_abilities,
    evaluation_questions,
    grades_before_and_after,
)
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.schemas import Abilities
from llm_assets.recipes.finetuning import Tools
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import RlhfEvaluation
from llm_assets.report import plots, render
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import monitor_series, policy_plots

from .jobs import PromptRow, RlhfEvaluationJob
from .reward_checkpoint import RULE, GoldSignal, gold_signal, read_scores, reliability
from .rlhf_checkpoint import gold_job, monitor_evaluations, read_prompts
from .schemas import Answers

MODULE = "llm_assets.preference.rlhf_evaluation_process"
REPORT, TEMPLATE = "report.html", "rlhf_evaluation.html.j2"
MODELS = {"sft": "sft_checkpoint", "rl": "rl_checkpoint", "rlhf": "rlhf_checkpoint"}


class RlhfEvaluationConfig(Frozen):
    """How the models are evaluated. answer_tokens: maximum tokens of an answer to a question of `sft_evaluation`."""

    evaluation: RlhfEvaluation
    gold: GoldSignal
    answer_tokens: int
    tools: Tools


def build_rlhf_evaluation(step: Step, config: RlhfEvaluationConfig) -> None:
    """One task; a separate process asks the models."""
    settings, reward = config.evaluation, step.input("reward_checkpoint")
    prompts = read_prompts(step.input("response_pairs"), "unseen")
    questions, job_questions = evaluation_questions(step.input("conversations"))
    job = RlhfEvaluationJob(
        models={name: str(step.input(asset).path) for name, asset in MODELS.items()},
        prompts=tuple(prompts),
        reward=str(reward.path),
        gold=gold_job(config.gold, reward),
        samples=settings.samples,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
        device=settings.device,
        questions=job_questions,
        answer_tokens=config.answer_tokens,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    answers = to_answers(prompts, results["responses"])
    abilities = grades_before_and_after(step.input("sft_evaluation"), questions, results["answers"])
    with step.task("evaluation") as task:
        task.table("answers", Answers).frame(answers)
        task.table("abilities", Abilities).frame(abilities)
        task.stats.update(headline(answers, abilities))


def draw_report(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> str:
    """The HTML report on the evaluation, and on the reward model and the tuning before it."""
    answers, abilities = (read_table(evaluation.table(table)) for table in ("answers", "abilities"))
    reward, rlhf = inputs.artifact("reward_checkpoint"), inputs.artifact("rlhf_checkpoint")
    shown = config.evaluation.transcripts
    monitor, calibration = monitor_series(monitor_evaluations(rlhf)), reliability(read_scores(reward))
    curves = {
        **policy_plots(read_table(rlhf.table("curve"))),
        "monitor": plots.svg(
            monitor, "divergence, nats per token", "score, standard deviations at the start", marks=True
        ),
        "calibration": plots.svg(calibration, "predicted chance", "observed share", marks=True),
    }
    adversarial = [read_table(path) for path in rlhf.table("adversarial")]
    return render(
        __package__,
        TEMPLATE,
        numbers=headline(answers, abilities),
        answers=answers,
        abilities=abilities.to_dicts(),
        plots=curves,
        models=list(MODELS),
        shown=shown,
        training=rlhf.record.stats,
        reward=reward.record.stats,
        simulated=config.gold == RULE,
        adversarial=pl.concat(adversarial).sort("gold").head(shown).to_dicts() if adversarial else [],
    )


def to_answers(prompts: Sequence[PromptRow], responses: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row per answer (schema Answers). responses: by model."""
    questions = {prompt.prompt: prompt.question for prompt in prompts}
    answer_columns = ("text", "tokens", "finished", "proxy", "gold")
    return pl.DataFrame(
        [
            {
                "model": model,
                "prompt": answer["prompt"],
                "question": questions[answer["prompt"]],
                **{name: answer[name] for name in answer_columns},
            }
            for model in MODELS
            for answer in responses.get(model, [])
        ]
    )


def wins(scores: Sequence[float], other_scores: Sequence[float]) -> float:
    """The share of answers with a higher score than the other model's answer to the same prompt; ties count half."""
    points = 0.0
    for score, other_score in zip(scores, other_scores, strict=True):
        if score == other_score:
            points += 0.5
        elif score > other_score:
            points += 1.0
    return round(points / max(len(scores), 1), 4)


def headline(answers: pl.DataFrame, abilities: pl.DataFrame) -> dict[str, Any]:
    """The numbers that are tracked.

    models: mean scores and tokens, and the share of unfinished answers, by model. wins: of RLHF against each other
    model. answers_per_model: number of answers. changes: how the assistant's other abilities changed.
    """
    by_model = {str(model): rows for (model,), rows in answers.group_by("model", maintain_order=True)}
    means = {
        model: {
            "gold": round(float(rows["gold"].mean()), 4),  # type: ignore[arg-type]
            "proxy": round(float(rows["proxy"].mean()), 4),  # type: ignore[arg-type]
            "tokens": round(float(rows["tokens"].mean()), 1),  # type: ignore[arg-type]
            "unfinished": round(1 - float(rows["finished"].mean()), 4),  # type: ignore[arg-type]
        }
        for model, rows in by_model.items()
    }
    rlhf_scores = by_model["rlhf"]["gold"].to_list()
    win_shares = {
        f"rlhf against {model}": wins(rlhf_scores, rows["gold"].to_list())
        for model, rows in by_model.items()
        if model != "rlhf"
    }
    answers_per_model = len(next(iter(by_model.values())))
    return {
        "models": means,
        "wins": win_shares,
        "answers_per_model": answers_per_model,
        "changes": ability_changes(abilities),
    }


def preferred_more(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> CheckOutcome:
    """Whether the gold signal prefers RLHF's answers to SFT's."""
    stats = evaluation.record.stats
    win_shares = ", ".join(f"{name}: {100 * share:.1f} % won" for name, share in stats["wins"].items())
    numbers = {f"wins.{name.replace(' ', '_')}": share for name, share in stats["wins"].items()}
    for model, means in stats["models"].items():
        numbers.update({f"{score}.{model}": means[score] for score in ("gold", "proxy")})
    return CheckOutcome(
        stats["wins"]["rlhf against sft"] > 0.5,
        f"of {stats['answers_per_model']:,} answers to unseen prompts, {win_shares}",
        numbers={**numbers, "answers": stats["answers_per_model"]},
    )


def show(evaluation: Artifact) -> dict[str, str]:
    """Scores and wins in Markdown, for the asset's page in Dagster."""
    stats = evaluation.record.stats
    lines = ["| model | gold signal | reward model | tokens |", "|---|--:|--:|--:|"]
    for model, means in stats["models"].items():
        lines.append(f"| {model} | {means['gold']:.3f} | {means['proxy']:.3f} | {means['tokens']:.1f} |")
    win_lines = [f"{name}: {100 * share:.1f} % won  " for name, share in stats["wins"].items()]
    return {"summary": "\n".join([*lines, "", *win_lines])}


RLHF_EVALUATION = Stage(
    name="rlhf_evaluation",
    group="preference",
    description="SFT, RL and RLHF models on unseen prompts, scored by the gold signal, and how preference tuning "
    "changed the assistant's other abilities.",
    kinds=("pytorch", "html"),
    build=build_rlhf_evaluation,
    config=lambda recipe, crawl: RlhfEvaluationConfig(
        evaluation=recipe.rlhf_evaluation,
        gold=gold_signal(recipe.human_rankings),
        answer_tokens=recipe.sft_evaluation.max_tokens,
        tools=recipe.tools,
    ),
    code_version="3",
    inputs=(
        "rlhf_checkpoint",
        "rl_checkpoint",
        "sft_checkpoint",
        "reward_checkpoint",
        "response_pairs",
        "conversations",
        "sft_evaluation",
        TRAINING_SEARCH,
    ),
    tables={"answers": Answers, "abilities": Abilities},
    main_table="answers",
    checks=(
        Check("preferred_to_sft", "On unseen prompts the gold signal prefers RLHF's answers to SFT's.", preferred_more),
        Check(
            "keeps_what_it_learnt", "None of the assistant's abilities fell by more than ten points.", check_abilities
        ),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
)
