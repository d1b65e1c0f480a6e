"""`rlhf_evaluation`: SFT, RL and RLHF models on prompts that none was tuned on, in the eyes of the gold signal; and what tuning cost elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.evaluation.abilities import before_and_after, changes, questions_again
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.schemas import Abilities
from llm_assets.recipes import Recipe
from llm_assets.report import plots, render
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import guard_series, policy_plots

from .reward_checkpoint import RULE, gold_signal, reliability
from .rlhf_checkpoint import gold_of, read_prompts
from .schemas import Answers

MODULE = "llm_assets.preference.evaluate"
REPORT = "report.html"
MODELS = {"sft": "sft_checkpoint", "rl": "rl_checkpoint", "rlhf": "rlhf_checkpoint"}


def build_rlhf_evaluation(step: Step, recipe: Recipe) -> None:
    """One part; the models are asked in a process of its own."""
    settings, reward, rlhf = recipe.rlhf_evaluation, step.input("reward_checkpoint"), step.input("rlhf_checkpoint")
    prompts = read_prompts(step.input("response_pairs"), "unseen")
    questions, again = questions_again(step.input("conversations"))
    job = {
        **settings.model_dump(include={"samples", "temperature", "max_tokens", "seed", "device"}), "models": {name: str(step.input(asset).path) for name, asset in MODELS.items()}, "prompts": prompts, "reward": str(reward.path),
        "gold": gold_of(recipe, reward), "questions": again, "answer_tokens": recipe.sft_evaluation.max_tokens, "toolbox": toolbox_job(step.input("search_index"), recipe.tools),
    }  # fmt: skip
    results = measure(step, MODULE, job, step.staging / "evaluation")
    answers = to_answers(prompts, results["said"])
    abilities = before_and_after(step.input("sft_evaluation"), questions, results["answers"])
    numbers = headline(answers, abilities)
    curve = pl.read_parquet(rlhf.table("curve"))
    looks = [{"step": int(one), **values} for one, values in rlhf.record.stats["guard"].items()]
    scored = pl.concat([pl.read_parquet(path) for path in reward.table("scores")]).to_dicts()
    drawn = {
        **policy_plots(curve), "guard": plots.svg(guard_series(looks), "divergence, nats a token", "deviations at the start", marks=True),
        "calibration": plots.svg(reliability(scored), "predicted chance", "how often it was preferred", marks=True),
    }  # fmt: skip
    fooled = [pl.read_parquet(path) for path in rlhf.table("adversarial")]
    with step.part("evaluation") as part:
        part.table("answers", Answers).frame(answers)
        part.table("abilities", Abilities).frame(abilities)
        page = render(
            __package__, "rlhf_evaluation.html.j2", recipe=recipe, numbers=numbers, answers=answers, abilities=abilities.to_dicts(), plots=drawn, models=list(MODELS), shown=settings.transcripts, training=rlhf.record.stats,
            reward=reward.record.stats, simulated=gold_signal(recipe) == RULE, adversarial=pl.concat(fooled).sort("gold").head(settings.transcripts).to_dicts() if fooled else [],
        )  # fmt: skip
        write_atomic(step.staging / REPORT, page.encode("utf-8", "replace"))
        part.add_file(REPORT)
        part.stats.update(numbers)


def to_answers(prompts: Sequence[Mapping[str, Any]], said: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row an answer (schema Answers)."""
    questions = {one["prompt"]: one["question"] for one in prompts}
    return pl.DataFrame([
        {"model": model, "prompt": one["prompt"], "question": questions[one["prompt"]], **{name: one[name] for name in ("text", "tokens", "finished", "proxy", "gold")}}
        for model in MODELS for one in said.get(model, [])
    ])  # fmt: skip


def wins(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How often ours is better, one answer against another's to the same prompt; answers that are alike count half."""
    return round(sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(ours, theirs, strict=True)) / max(len(ours), 1), 4)


def headline(answers: pl.DataFrame, abilities: pl.DataFrame) -> dict[str, Any]:
    """The numbers that are tracked."""
    of = {str(model): rows for (model,), rows in answers.group_by("model", maintain_order=True)}
    means = {
        model: {"gold": round(float(rows["gold"].mean()), 4), "proxy": round(float(rows["proxy"].mean()), 4), "tokens": round(float(rows["tokens"].mean()), 1), "unfinished": round(1 - float(rows["finished"].mean()), 4)}  # type: ignore[arg-type]
        for model, rows in of.items()
    }  # fmt: skip
    won = {f"rlhf against {other}": wins(of["rlhf"]["gold"].to_list(), of[other]["gold"].to_list()) for other in of if other != "rlhf"}
    return {"models": means, "wins": won, "asked": len(next(iter(of.values()))), "changes": changes(abilities)}


def preferred_more(evaluation: Artifact) -> CheckOutcome:
    """Whether the gold signal prefers RLHF's answers to SFT's."""
    won = evaluation.record.stats["wins"]
    return CheckOutcome(won["rlhf against sft"] > 0.5, f"of {evaluation.record.stats['asked']:,} answers to unseen prompts, " + ", ".join(f"{name}: {100 * share:.1f} % won" for name, share in won.items()))


def preview(evaluation: Artifact) -> str:
    """Scores and wins in Markdown, for Dagster's page of the asset."""
    stats = evaluation.record.stats
    lines = ["| model | gold signal | reward model | tokens |", "|---|--:|--:|--:|", *(f"| {model} | {one['gold']:.3f} | {one['proxy']:.3f} | {one['tokens']:.1f} |" for model, one in stats["models"].items())]
    return "\n".join([*lines, "", *(f"{name}: {100 * share:.1f} % won  " for name, share in stats["wins"].items())])


RLHF_EVALUATION = Stage(
    name="rlhf_evaluation",
    build=build_rlhf_evaluation,
    code_version="1",
    rooms=("llm_assets.preference", "llm_assets.evaluation", "llm_assets.model", "llm_assets.tools"),
    inputs=("rlhf_checkpoint", "rl_checkpoint", "sft_checkpoint", "reward_checkpoint", "response_pairs", "conversations", "sft_evaluation", "search_index"),
    literals=lambda recipe, _: {"rlhf_evaluation": recipe.rlhf_evaluation, "gold": gold_signal(recipe), "answer_tokens": recipe.sft_evaluation.max_tokens, "tools": recipe.tools},
    tables={"answers": Answers, "abilities": Abilities},
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
)
