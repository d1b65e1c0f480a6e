"""`rl_evaluation`: base, SFT and RL models on held-out problems; and what practice did to everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.evaluation.abilities import INSTRUCTION, before_and_after, changes, questions_again
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.schemas import Abilities
from llm_assets.recipes import Recipe
from llm_assets.report import plots, render
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import policy_plots

from .practice_problems import families_of
from .rl_checkpoint import ranked, read_problems
from .schemas import Attempts

MODULE = "llm_assets.reinforcement.evaluate"
REPORT = "report.html"
MODELS = {"base": "base_checkpoint", "sft": "sft_checkpoint", "rl": "rl_checkpoint"}


def pass_at(samples: int, right: int, k: int) -> float:
    """Probability that one of k solutions is right, from `right` of `samples`: 1 - C(n - c, k) / C(n, k) (Chen et al., arXiv:2107.03374)."""
    if k > samples:
        raise ValueError(f"pass@{k} wants {k} samples, there are {samples}")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def build_rl_evaluation(step: Step, recipe: Recipe) -> None:
    """One part; the models are asked in a process of its own."""
    settings = recipe.rl_evaluation
    problems = [problem for place, problem in ranked(read_problems(step.input("practice_problems"), "held_out")) if place < settings.problems]
    questions, again = questions_again(step.input("conversations"))
    examples = [["What is 3 + 4?", "3 + 4 = 7."], ['How often does the letter b stand in "bib"?', "2"], ['Spell "tin".', "t-i-n."]]
    job = {
        "models": {name: str(step.input(asset).path) for name, asset in MODELS.items()}, "families": list(families_of(recipe)), "problems": problems, "samples": settings.samples, "temperature": settings.temperature,
        "max_tokens": settings.max_tokens, "answer_tokens": recipe.sft_evaluation.max_tokens, "seed": settings.seed, "device": settings.device, "base": {"max_tokens": min(settings.max_tokens, 64), "instruction": INSTRUCTION, "examples": examples},
        "questions": again, "toolbox": toolbox_job(step.input("search_index"), recipe.tools),
    }  # fmt: skip
    results = measure(step, MODULE, job, step.staging / "evaluation")
    attempts = to_attempts(problems, results["attempts"])
    abilities = before_and_after(step.input("sft_evaluation"), questions, results["answers"])
    numbers = headline(attempts, abilities, settings.samples)
    curve = pl.read_parquet(step.input("rl_checkpoint").table("curve"))
    looks = step.input("rl_checkpoint").record.stats["looks"]
    drawn = {**policy_plots(curve), "looks": plots.svg({"held out": ([int(one) for one in looks], list(looks.values()))}, "step", "right, greedy", marks=True) if looks else ""}
    with step.part("evaluation") as part:
        part.table("attempts", Attempts).frame(attempts)
        part.table("abilities", Abilities).frame(abilities)
        page = render(
            __package__, "rl_evaluation.html.j2", recipe=recipe, numbers=numbers, attempts=attempts, abilities=abilities.to_dicts(), plots=drawn, models=list(MODELS), shown=settings.transcripts,
            training=step.input("rl_checkpoint").record.stats, families=families_of(recipe), k=settings.samples,
        )  # fmt: skip
        write_atomic(step.staging / REPORT, page.encode("utf-8", "replace"))
        part.add_file(REPORT)
        part.stats.update(numbers)


def to_attempts(problems: Sequence[Mapping[str, Any]], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row a model and problem (schema Attempts)."""
    by_number = {problem["problem"]: problem for problem in problems}
    return pl.DataFrame([
        {
            "model": model, **{name: by_number[one["problem"]][name] for name in ("problem", "family", "level", "question", "answer")},
            **{name: one[name] for name in ("greedy", "right", "samples", "tokens", "calls", "transcript")},
        }
        for model in MODELS for one in results.get(model, [])
    ])  # fmt: skip


def headline(attempts: pl.DataFrame, abilities: pl.DataFrame, k: int) -> dict[str, Any]:
    """The numbers that are tracked: pass@1 and pass@k by model, family and level, lengths, and what changed elsewhere."""
    passed: dict[str, dict[str, dict[str, float]]] = {}
    for (model, family, level), rows in attempts.group_by("model", "family", "level", maintain_order=True):
        one = {"problems": len(rows), "greedy": round(float(rows["greedy"].mean()), 4), "tokens": round(float(rows["tokens"].mean()), 1)}  # type: ignore[arg-type]
        for wanted in (1, k):
            one[f"pass@{wanted}"] = round(sum(pass_at(row["samples"], row["right"], wanted) for row in rows.iter_rows(named=True)) / len(rows), 4)
        passed.setdefault(str(model), {})[f"{family}, level {level}"] = one
    families: dict[str, dict[str, float]] = {}
    for (model, family), rows in attempts.group_by("model", "family", maintain_order=True):
        families.setdefault(str(model), {})[str(family)] = round(float((rows["right"] / rows["samples"]).mean()), 4)  # type: ignore[arg-type]
    return {"passed": passed, "families": families, "changes": changes(abilities)}


def practice_helps(evaluation: Artifact) -> CheckOutcome:
    """Whether RL solves more held-out problems than SFT in some family."""
    families = evaluation.record.stats["families"]
    gains = {family: round(after - families["sft"][family], 4) for family, after in families["rl"].items()}
    told = ", ".join(f"{family} {100 * families['sft'][family]:.1f} % → {100 * families['rl'][family]:.1f} %" for family in gains)
    return CheckOutcome(max(gains.values(), default=0.0) > 0, f"pass@1 on held-out problems, SFT → RL: {told}")


def preview(evaluation: Artifact) -> str:
    """pass@1 and pass@k in Markdown, for Dagster's page of the asset."""
    passed = evaluation.record.stats["passed"]
    ks = [name for name in next(iter(next(iter(passed.values())).values())) if name.startswith("pass@")]
    lines = ["| | " + " | ".join(f"{model} {name}" for model in passed for name in ks) + " |", "|---" + "|--:" * (len(passed) * len(ks)) + "|"]
    for group in passed["rl"]:
        lines.append(f"| {group} | " + " | ".join(f"{100 * passed[model][group][name]:.1f} %" for model in passed for name in ks) + " |")
    return "\n".join(lines)


RL_EVALUATION = Stage(
    name="rl_evaluation",
    build=build_rl_evaluation,
    code_version="1",
    rooms=(
        "llm_assets.reinforcement",
        "llm_assets.dialogue.transcript",
        "llm_assets.evaluation",
        "llm_assets.model",
        "llm_assets.tools",
    ),
    inputs=("rl_checkpoint", "sft_checkpoint", "base_checkpoint", "practice_problems", "conversations", "sft_evaluation", "search_index"),
    literals=lambda recipe, _: {"rl_evaluation": recipe.rl_evaluation, "answer_tokens": recipe.sft_evaluation.max_tokens, "tools": recipe.tools, "families": list(families_of(recipe))},
    tables={"attempts": Attempts, "abilities": Abilities},
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
)

