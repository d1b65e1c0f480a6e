"""`rlhf_evaluation`: SFT, RL and RLHF models on prompts that none was tuned on, scored by the gold signal; and what
preference tuning cost elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step, View
from llm_assets.evaluation.abilities import before_and_after, changes, keeps_abilities, questions_again
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
    """What is asked of the models, and what judges their answers. answer_tokens: of an answer to the assistant's own
    evaluation, asked again.
    """

    evaluation: RlhfEvaluation
    gold: GoldSignal
    answer_tokens: int
    tools: Tools


def build_rlhf_evaluation(step: Step, config: RlhfEvaluationConfig) -> None:
    """One part; the models are asked in a process of its own."""
    settings, reward = config.evaluation, step.input("reward_checkpoint")
    prompts = read_prompts(step.input("response_pairs"), "unseen")
    questions, again = questions_again(step.input("conversations"))
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
        questions=again,
        answer_tokens=config.answer_tokens,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    answers = to_answers(prompts, results["said"])
    abilities = before_and_after(step.input("sft_evaluation"), questions, results["answers"])
    with step.task("evaluation") as task:
        task.table("answers", Answers).frame(answers)
        task.table("abilities", Abilities).frame(abilities)
        task.stats.update(headline(answers, abilities))


def draw_report(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> str:
    """The page on the evaluation, and on the reward model and the tuning before it."""
    answers, abilities = (
        pl.concat([pl.read_parquet(path) for path in evaluation.table(table)]) for table in ("answers", "abilities")
    )
    reward, rlhf, shown = (
        inputs.artifact("reward_checkpoint"),
        inputs.artifact("rlhf_checkpoint"),
        config.evaluation.transcripts,
    )
    monitor, calibration = monitor_series(monitor_evaluations(rlhf)), reliability(read_scores(reward))
    drawn = {
        **policy_plots(pl.read_parquet(rlhf.table("curve"))),
        "monitor": plots.svg(monitor, "divergence, nats a token", "deviations at the start", marks=True),
        "calibration": plots.svg(calibration, "predicted chance", "how often it was preferred", marks=True),
    }
    fooled = [pl.read_parquet(path) for path in rlhf.table("adversarial")]
    return render(
        __package__,
        TEMPLATE,
        numbers=headline(answers, abilities),
        answers=answers,
        abilities=abilities.to_dicts(),
        plots=drawn,
        models=list(MODELS),
        shown=shown,
        training=rlhf.record.stats,
        reward=reward.record.stats,
        simulated=config.gold == RULE,
        adversarial=pl.concat(fooled).sort("gold").head(shown).to_dicts() if fooled else [],
    )


def to_answers(prompts: Sequence[PromptRow], said: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row an answer (schema Answers)."""
    questions = {prompt.prompt: prompt.question for prompt in prompts}
    of_answer = ("text", "tokens", "finished", "proxy", "gold")
    return pl.DataFrame(
        [
            {
                "model": model,
                "prompt": answer["prompt"],
                "question": questions[answer["prompt"]],
                **{name: answer[name] for name in of_answer},
            }
            for model in MODELS
            for answer in said.get(model, [])
        ]
    )


def wins(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How often ours is better, one answer against another's to the same prompt; answers that are alike count half."""
    return round(
        sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(ours, theirs, strict=True)) / max(len(ours), 1), 4
    )


def headline(answers: pl.DataFrame, abilities: pl.DataFrame) -> dict[str, Any]:
    """The numbers that are tracked."""
    of = {str(model): rows for (model,), rows in answers.group_by("model", maintain_order=True)}
    means = {
        model: {
            "gold": round(float(rows["gold"].mean()), 4),  # type: ignore[arg-type]
            "proxy": round(float(rows["proxy"].mean()), 4),  # type: ignore[arg-type]
            "tokens": round(float(rows["tokens"].mean()), 1),  # type: ignore[arg-type]
            "unfinished": round(1 - float(rows["finished"].mean()), 4),  # type: ignore[arg-type]
        }
        for model, rows in of.items()
    }
    won = {
        f"rlhf against {other}": wins(of["rlhf"]["gold"].to_list(), of[other]["gold"].to_list())
        for other in of
        if other != "rlhf"
    }
    return {"models": means, "wins": won, "asked": len(next(iter(of.values()))), "changes": changes(abilities)}


def preferred_more(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> CheckOutcome:
    """Whether the gold signal prefers RLHF's answers to SFT's."""
    stats = evaluation.record.stats
    won = ", ".join(f"{name}: {100 * share:.1f} % won" for name, share in stats["wins"].items())
    numbers = {f"wins.{name.replace(' ', '_')}": share for name, share in stats["wins"].items()}
    scores = {f"{score}.{model}": of[score] for model, of in stats["models"].items() for score in ("gold", "proxy")}
    return CheckOutcome(
        stats["wins"]["rlhf against sft"] > 0.5,
        f"of {stats['asked']:,} answers to unseen prompts, {won}",
        numbers={**numbers, **scores, "answers": stats["asked"]},
    )


def show(evaluation: Artifact) -> dict[str, str]:
    """Scores and wins in Markdown, for Dagster's page of the asset."""
    stats = evaluation.record.stats
    lines = ["| model | gold signal | reward model | tokens |", "|---|--:|--:|--:|"]
    for model, one in stats["models"].items():
        lines.append(f"| {model} | {one['gold']:.3f} | {one['proxy']:.3f} | {one['tokens']:.1f} |")
    won = [f"{name}: {100 * share:.1f} % won  " for name, share in stats["wins"].items()]
    return {"summary": "\n".join([*lines, "", *won])}


RLHF_EVALUATION = Stage(
    name="rlhf_evaluation",
    group="preference",
    description="SFT, RL and RLHF models on unseen prompts in the eyes of the gold signal, and what preference tuning "
    "did to everything else.",
    kinds=("pytorch", "html"),
    build=build_rlhf_evaluation,
    config=lambda recipe, crawl: RlhfEvaluationConfig(
        evaluation=recipe.rlhf_evaluation,
        gold=gold_signal(recipe.human_rankings),
        answer_tokens=recipe.sft_evaluation.max_tokens,
        tools=recipe.tools,
    ),
    code_version="1",
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
        Check("preferred_to_sft", "The gold signal prefers RLHF's answers to unseen prompts to SFT's.", preferred_more),
        Check("keeps_what_it_learnt", "No ability of the assistant's fell by more than ten points.", keeps_abilities),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
)
