"""`rl_evaluation`: base, SFT and RL models on held-out problems, and how RL changed the assistant's other abilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step, View
from llm_assets.artifacts.tables import read_table
from llm_assets.evaluation.abilities import (
    INSTRUCTION,
    ability_changes,
    check_abilities,
    evaluation_questions,
    grades_before_and_after,
)
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.jobs import BasePrompting
from llm_assets.evaluation.schemas import Abilities
from llm_assets.recipes.finetuning import Tools
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.reinforcement import RlEvaluation
from llm_assets.report import plots, render
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import policy_plots, scores_by_step

from .jobs import ProblemRow, RlEvaluationJob
from .practice_problems import family_names, family_versions
from .rl_checkpoint import ranked, read_problems
from .schemas import Attempts

MODULE = "llm_assets.reinforcement.rl_evaluation_process"
REPORT, TEMPLATE = "report.html", "rl_evaluation.html.j2"
MODELS = {"base": "base_checkpoint", "sft": "sft_checkpoint", "rl": "rl_checkpoint"}

# Questions and answers that prompt the base model to answer.
EXAMPLES = (
    ("What is 3 + 4?", "3 + 4 = 7."),
    ('How often does the letter b stand in "bib"?', "2"),
    ('Spell "tin".', "t-i-n."),
)
BASE_MAX_TOKENS = 64  # of the base model's one-line answer


class RlEvaluationConfig(Frozen):
    """How the models are evaluated. answer_tokens: maximum tokens of an answer to a question of `sft_evaluation`."""

    evaluation: RlEvaluation
    answer_tokens: int
    tools: Tools
    families: tuple[str, ...]


def pass_at(samples: int, right: int, k: int) -> float:
    """Estimated probability that at least one of k solutions is right, given `right` of `samples`.

    It is 1 - C(n - c, k) / C(n, k) (Chen et al., arXiv:2107.03374). Raises ValueError if k exceeds `samples`.
    """
    if k > samples:
        raise ValueError(
            f"pass@{k} needs at least {k} samples, but the recipe asks for {samples}; raise rl_evaluation.samples"
        )
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def build_rl_evaluation(step: Step, config: RlEvaluationConfig) -> None:
    """One task; a separate process asks the models."""
    settings = config.evaluation
    held_out = ranked(read_problems(step.input("practice_problems"), "held_out"))
    problems = [problem for place, problem in held_out if place < settings.problems]
    questions, job_questions = evaluation_questions(step.input("conversations"))
    job = RlEvaluationJob(
        models={name: str(step.input(asset).path) for name, asset in MODELS.items()},
        families=config.families,
        problems=tuple(problems),
        samples=settings.samples,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
        device=settings.device,
        base=BasePrompting(min(settings.max_tokens, BASE_MAX_TOKENS), INSTRUCTION, EXAMPLES),
        questions=job_questions,
        answer_tokens=config.answer_tokens,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    attempts = to_attempts(problems, results["attempts"])
    abilities = grades_before_and_after(step.input("sft_evaluation"), questions, results["answers"])
    with step.task("evaluation") as task:
        task.table("attempts", Attempts).frame(attempts)
        task.table("abilities", Abilities).frame(abilities)
        task.stats.update(headline(attempts, abilities, settings.samples))


def draw_report(evaluation: Artifact, inputs: Inputs, config: RlEvaluationConfig) -> str:
    """The HTML report on the evaluation and on the training run before it."""
    attempts, abilities = (read_table(evaluation.table(table)) for table in ("attempts", "abilities"))
    checkpoint = inputs.artifact("rl_checkpoint")
    steps, scores = scores_by_step(checkpoint)
    policy_curves = {**policy_plots(read_table(checkpoint.table("curve"))), "evaluations": ""}
    if steps:
        policy_curves["evaluations"] = plots.svg({"held out": (steps, scores)}, "step", "right, greedy", marks=True)
    return render(
        __package__,
        TEMPLATE,
        numbers=headline(attempts, abilities, config.evaluation.samples),
        attempts=attempts,
        abilities=abilities.to_dicts(),
        plots=policy_curves,
        models=list(MODELS),
        shown=config.evaluation.transcripts,
        training=checkpoint.record.stats,
        levels=inputs.artifact("practice_problems").record.stats["levels"],
        k=config.evaluation.samples,
    )


def to_attempts(problems: Sequence[ProblemRow], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row per model and problem (schema Attempts)."""
    by_number = {problem.problem: problem for problem in problems}
    problem_columns = ("problem", "family", "level", "question", "answer")
    attempt_columns = ("greedy", "right", "samples", "tokens", "calls", "transcript")
    return pl.DataFrame(
        [
            {
                "model": model,
                **{name: getattr(by_number[attempt["problem"]], name) for name in problem_columns},
                **{name: attempt[name] for name in attempt_columns},
            }
            for model in MODELS
            for attempt in results.get(model, [])
        ]
    )


def headline(attempts: pl.DataFrame, abilities: pl.DataFrame, k: int) -> dict[str, Any]:
    """The numbers that are tracked.

    passed: pass@1, pass@k, greedy accuracy and tokens by model, family and level. families: pass@1 by model and family.
    changes: how the assistant's other abilities changed.
    """
    passed: dict[str, dict[str, dict[str, float]]] = {}
    for (model, family, level), rows in attempts.group_by("model", "family", "level", maintain_order=True):
        numbers = {
            "problems": len(rows),
            "greedy": round(float(rows["greedy"].mean()), 4),
            "tokens": round(float(rows["tokens"].mean()), 1),
        }  # type: ignore[arg-type]
        for samples in (1, k):
            numbers[f"pass@{samples}"] = mean_pass_at(rows, samples)
        passed.setdefault(str(model), {})[f"{family}, level {level}"] = numbers
    families: dict[str, dict[str, float]] = {}
    for (model, family), rows in attempts.group_by("model", "family", maintain_order=True):
        share = (rows["right"] / rows["samples"]).mean()
        families.setdefault(str(model), {})[str(family)] = round(float(share), 4)  # type: ignore[arg-type]
    return {"passed": passed, "families": families, "changes": ability_changes(abilities)}


def mean_pass_at(attempts: pl.DataFrame, k: int) -> float:
    """pass@k, averaged over problems."""
    shares = [pass_at(row["samples"], row["right"], k) for row in attempts.iter_rows(named=True)]
    return round(sum(shares) / len(shares), 4)


def solves_more(evaluation: Artifact, inputs: Inputs, config: RlEvaluationConfig) -> CheckOutcome:
    """Whether the RL model solves more held-out problems of some family than the SFT model."""
    families = evaluation.record.stats["families"]
    before, after = families["sft"], families["rl"]
    gains = {family: round(share - before[family], 4) for family, share in after.items()}
    changes_by_family = ", ".join(
        f"{family} {100 * before[family]:.1f} % → {100 * after[family]:.1f} %" for family in gains
    )
    numbers = {}
    for model, shares in (("sft", before), ("rl", after)):
        numbers.update({f"pass@1.{model}.{family}": share for family, share in shares.items()})
    numbers.update({f"gain.{family}": gain for family, gain in gains.items()})
    return CheckOutcome(
        max(gains.values(), default=0.0) > 0,
        f"pass@1 on held-out problems, SFT → RL: {changes_by_family}",
        numbers=numbers,
    )


def show(evaluation: Artifact) -> dict[str, str]:
    """pass@1 and pass@k in Markdown, for the asset's page in Dagster."""
    passed = evaluation.record.stats["passed"]
    first_numbers = next(iter(next(iter(passed.values())).values()))
    metrics = [name for name in first_numbers if name.startswith("pass@")]
    heads = " | ".join(f"{model} {metric}" for model in passed for metric in metrics)
    lines = [f"| | {heads} |", "|---" + "|--:" * (len(passed) * len(metrics)) + "|"]
    for group in passed["rl"]:
        shares = " | ".join(f"{100 * passed[model][group][metric]:.1f} %" for model in passed for metric in metrics)
        lines.append(f"| {group} | {shares} |")
    return {"summary": "\n".join(lines)}


RL_EVALUATION = Stage(
    name="rl_evaluation",
    group="reinforcement",
    description="Base, SFT and RL models on held-out problems, and how reinforcement learning changed the assistant's "
    "other abilities.",
    kinds=("pytorch", "html"),
    build=build_rl_evaluation,
    config=lambda recipe, crawl: RlEvaluationConfig(
        evaluation=recipe.rl_evaluation,
        answer_tokens=recipe.sft_evaluation.max_tokens,
        tools=recipe.tools,
        families=family_names(recipe.practice_problems),
    ),
    code_version="3",
    inputs=(
        "rl_checkpoint",
        "sft_checkpoint",
        "base_checkpoint",
        "practice_problems",
        "conversations",
        "sft_evaluation",
        TRAINING_SEARCH,
    ),
    external_inputs=lambda config: family_versions(config.families),
    tables={"attempts": Attempts, "abilities": Abilities},
    main_table="attempts",
    checks=(
        Check(
            "solves_more",
            "After reinforcement learning the assistant solves more held-out problems of some family than before.",
            solves_more,
        ),
        Check("keeps_what_it_knew", "None of the assistant's abilities fell by more than ten points.", check_abilities),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
)
