"""`rl_evaluation`: base, SFT and RL models on held-out problems; and what practice did to everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step, View
from llm_assets.evaluation.abilities import INSTRUCTION, before_and_after, changes, keeps_abilities, questions_again
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

EXAMPLES = (  # of questions and answers, for the base model
    ("What is 3 + 4?", "3 + 4 = 7."),
    ('How often does the letter b stand in "bib"?', "2"),
    ('Spell "tin".', "t-i-n."),
)
BASE_TOKENS = 64  # that the base model's one line may have


class RlEvaluationConfig(Frozen):
    """What is asked of the models. answer_tokens: of an answer to the assistant's own evaluation, asked again."""

    evaluation: RlEvaluation
    answer_tokens: int
    tools: Tools
    families: tuple[str, ...]


def pass_at(samples: int, right: int, k: int) -> float:
    """Probability that one of k solutions is right, from `right` of `samples`.

    It is 1 - C(n - c, k) / C(n, k) (Chen et al., arXiv:2107.03374).
    """
    if k > samples:
        raise ValueError(f"pass@{k} wants {k} samples, there are {samples}")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def build_rl_evaluation(step: Step, config: RlEvaluationConfig) -> None:
    """One part; the models are asked in a process of its own."""
    settings = config.evaluation
    held_out = ranked(read_problems(step.input("practice_problems"), "held_out"))
    problems = [problem for place, problem in held_out if place < settings.problems]
    questions, again = questions_again(step.input("conversations"))
    job = RlEvaluationJob(
        models={name: str(step.input(asset).path) for name, asset in MODELS.items()},
        families=config.families,
        problems=tuple(problems),
        samples=settings.samples,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
        device=settings.device,
        base=BasePrompting(min(settings.max_tokens, BASE_TOKENS), INSTRUCTION, EXAMPLES),
        questions=again,
        answer_tokens=config.answer_tokens,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    attempts = to_attempts(problems, results["attempts"])
    abilities = before_and_after(step.input("sft_evaluation"), questions, results["answers"])
    with step.task("evaluation") as task:
        task.table("attempts", Attempts).frame(attempts)
        task.table("abilities", Abilities).frame(abilities)
        task.stats.update(headline(attempts, abilities, settings.samples))


def draw_report(evaluation: Artifact, inputs: Inputs, config: RlEvaluationConfig) -> str:
    """The page on the evaluation and on the training before it."""
    attempts, abilities = (
        pl.concat([pl.read_parquet(path) for path in evaluation.table(table)]) for table in ("attempts", "abilities")
    )
    checkpoint = inputs.artifact("rl_checkpoint")
    steps, scores = scores_by_step(checkpoint)
    drawn = {**policy_plots(pl.read_parquet(checkpoint.table("curve"))), "evaluations": ""}
    if steps:
        drawn["evaluations"] = plots.svg({"held out": (steps, scores)}, "step", "right, greedy", marks=True)
    return render(
        __package__,
        TEMPLATE,
        numbers=headline(attempts, abilities, config.evaluation.samples),
        attempts=attempts,
        abilities=abilities.to_dicts(),
        plots=drawn,
        models=list(MODELS),
        shown=config.evaluation.transcripts,
        training=checkpoint.record.stats,
        levels=inputs.artifact("practice_problems").record.stats["levels"],
        k=config.evaluation.samples,
    )


def to_attempts(problems: Sequence[ProblemRow], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row a model and problem (schema Attempts)."""
    by_number = {problem.problem: problem for problem in problems}
    of_problem = ("problem", "family", "level", "question", "answer")
    of_attempt = ("greedy", "right", "samples", "tokens", "calls", "transcript")
    return pl.DataFrame(
        [
            {
                "model": model,
                **{name: getattr(by_number[one["problem"]], name) for name in of_problem},
                **{name: one[name] for name in of_attempt},
            }
            for model in MODELS
            for one in results.get(model, [])
        ]
    )


def headline(attempts: pl.DataFrame, abilities: pl.DataFrame, k: int) -> dict[str, Any]:
    """The numbers that are tracked: pass@1 and pass@k by model, family and level, lengths, changes elsewhere."""
    passed: dict[str, dict[str, dict[str, float]]] = {}
    for (model, family, level), rows in attempts.group_by("model", "family", "level", maintain_order=True):
        one = {
            "problems": len(rows),
            "greedy": round(float(rows["greedy"].mean()), 4),
            "tokens": round(float(rows["tokens"].mean()), 1),
        }  # type: ignore[arg-type]
        for wanted in (1, k):
            one[f"pass@{wanted}"] = round(
                sum(pass_at(row["samples"], row["right"], wanted) for row in rows.iter_rows(named=True)) / len(rows), 4
            )
        passed.setdefault(str(model), {})[f"{family}, level {level}"] = one
    families: dict[str, dict[str, float]] = {}
    for (model, family), rows in attempts.group_by("model", "family", maintain_order=True):
        share = (rows["right"] / rows["samples"]).mean()
        families.setdefault(str(model), {})[str(family)] = round(float(share), 4)  # type: ignore[arg-type]
    return {"passed": passed, "families": families, "changes": changes(abilities)}


def practice_helps(evaluation: Artifact, inputs: Inputs, config: RlEvaluationConfig) -> CheckOutcome:
    """Whether RL solves more held-out problems than SFT in some family."""
    families = evaluation.record.stats["families"]
    before, after = families["sft"], families["rl"]
    gains = {family: round(share - before[family], 4) for family, share in after.items()}
    told = ", ".join(f"{family} {100 * before[family]:.1f} % → {100 * after[family]:.1f} %" for family in gains)
    shares = {"sft": before, "rl": after}
    numbers = {f"pass@1.{model}.{family}": share for model, of in shares.items() for family, share in of.items()}
    return CheckOutcome(
        max(gains.values(), default=0.0) > 0,
        f"pass@1 on held-out problems, SFT → RL: {told}",
        numbers={**numbers, **{f"gain.{family}": gain for family, gain in gains.items()}},
    )


def show(evaluation: Artifact) -> dict[str, str]:
    """pass@1 and pass@k in Markdown, for Dagster's page of the asset."""
    passed = evaluation.record.stats["passed"]
    ks = [name for name in next(iter(next(iter(passed.values())).values())) if name.startswith("pass@")]
    heads = " | ".join(f"{model} {name}" for model in passed for name in ks)
    lines = [f"| | {heads} |", "|---" + "|--:" * (len(passed) * len(ks)) + "|"]
    for group in passed["rl"]:
        shares = " | ".join(f"{100 * passed[model][group][name]:.1f} %" for model in passed for name in ks)
        lines.append(f"| {group} | {shares} |")
    return {"summary": "\n".join(lines)}


RL_EVALUATION = Stage(
    name="rl_evaluation",
    group="reinforcement",
    description="Base, SFT and RL models on held-out problems, and what reinforcement learning did to everything else "
    "that the assistant can do.",
    kinds=("pytorch", "html"),
    build=build_rl_evaluation,
    config=lambda recipe, crawl: RlEvaluationConfig(
        evaluation=recipe.rl_evaluation,
        answer_tokens=recipe.sft_evaluation.max_tokens,
        tools=recipe.tools,
        families=family_names(recipe.practice_problems),
    ),
    code_version="1",
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
            "More held-out problems are solved after reinforcement learning than before, in some family.",
            practice_helps,
        ),
        Check("keeps_what_it_knew", "No ability of the assistant's fell by more than ten points.", keeps_abilities),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
)
