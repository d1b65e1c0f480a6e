"""`rlhf_checkpoint`: the policy tuned to the reward model, kept where the gold signal peaked."""

from __future__ import annotations

from typing import Any

import polars as pl

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.dialogue.rendering import write_rehearsal
from llm_assets.dialogue.schemas import TooLong
from llm_assets.model.encoding import Encoding
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Recipe
from llm_assets.report import plots
from llm_assets.training.policy_run import POLICY_OPTIONAL_TABLES, POLICY_TABLES, guard_series, keep_policy, show_policy
from llm_assets.training.training_run import follow, inherited, optimisation, share_out

from .response_pairs import pair_digest
from .reward_checkpoint import GOLD, RULE, gold_signal
from .schemas import Adversarial

MODULE = "llm_assets.preference.train"
GUARD = "guard.svg"


def read_prompts(artifact: Artifact, split: str) -> list[dict[str, Any]]:
    """Open prompts of one side, in order."""
    frame = pl.concat([pl.read_parquet(path) for path in artifact.table("prompts")]).filter(pl.col("split") == split).sort("prompt")
    return frame.select("prompt", "question", "subject", "exists").to_dicts()


def gold_of(recipe: Recipe, reward: Artifact) -> str:
    """The gold signal for a job: the word for the rule, or the second reward model's folder."""
    return RULE if gold_signal(recipe) == RULE else str(reward.path / GOLD)


def build_rlhf_checkpoint(step: Step, recipe: Recipe) -> None:
    """One part."""
    settings, policy, reward, pairs = recipe.rlhf, step.input("rl_checkpoint"), step.input("reward_checkpoint"), step.input("response_pairs")
    shape = ModelShape.load(policy.file("shape.json").read_text(), "rl_checkpoint")
    processes, _, _ = share_out(shape, settings.prompts, settings.device, settings.processes, settings.pass_rows)
    rehearsal = write_rehearsal(step, step.input("conversations"), Encoding.load(policy.path), shape.context, settings.steps * settings.rehearsal_rows, settings.seed) if settings.rehearsal else None
    job = {
        **settings.model_dump(), "conversations": rehearsal, "patience": 0, "margin": 0.0, "checkpoint": str(policy.path), "reward": str(reward.path), "gold": gold_of(recipe, reward), "train": read_prompts(pairs, "train"),
        "guard": read_prompts(pairs, "guard")[: settings.guard_prompts], "optimisation": optimisation(settings, recipe.pretraining, shape, settings.rate),
    }  # fmt: skip
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.part("checkpoint") as part:
        noted = keep_policy(step, part, folder, policy, ends)
        if rows := noted["row"]:
            part.table("adversarial", Adversarial).frame(pl.DataFrame([{"pair": pair_digest(row["question"], row["first"], row["second"]), **row} for row in rows]))
        looks = against_kl(noted["look"], pl.read_ndjson(folder / "curve.jsonl", infer_schema_length=None))
        write_atomic(step.staging / GUARD, plots.svg(guard_series(looks), "divergence from the policy it set out from, nats a token", "deviations at the start", marks=True).encode())
        part.add_file(GUARD)
        part.stats["guard"] = {str(one["step"]): {name: one[name] for name in ("proxy", "gold", "kl")} for one in looks}


def against_kl(looks: list[dict[str, Any]], curve: pl.DataFrame) -> list[dict[str, Any]]:
    """Looks with the divergence of the steps before them: the mean of the last five; 0 before the first."""
    return [{**look, "kl": round(float(curve.filter(pl.col("step") < look["step"]).tail(5)["kl"].mean() or 0.0), 6)} for look in looks]  # type: ignore[arg-type]


def show(artifact: Artifact) -> dict[str, str]:
    """The training, and what the guard saw, in Markdown."""
    looks = [{"step": int(step), **values} for step, values in artifact.record.stats["guard"].items()]
    lines = ["| step | KL | reward model | gold signal |", "|--:|--:|--:|--:|", *(f"| {one['step']} | {one['kl']:.4f} | {one['proxy']:.3f} | {one['gold']:.3f} |" for one in sorted(looks, key=lambda one: one["step"]))]
    return {**show_policy(artifact), "guard": "\n".join(lines), "guard_curve": plots.markdown(plots.png(guard_series(looks), "divergence, nats a token", "deviations", marks=True))}


RLHF_CHECKPOINT = Stage(
    name="rlhf_checkpoint",
    build=build_rlhf_checkpoint,
    code_version="2",
    rooms=(
        "llm_assets.preference.rlhf_checkpoint",
        "llm_assets.preference.train",
        "llm_assets.preference.guard",
        "llm_assets.preference.taste",
        "llm_assets.preference.fit",
        "llm_assets.preference.sample",
        "llm_assets.dialogue",
        "llm_assets.evaluation.grading",
        "llm_assets.training",
        "llm_assets.model",
    ),
    inputs=("rl_checkpoint", "reward_checkpoint", "response_pairs", "conversations"),
    literals=lambda recipe, _: {"rlhf": recipe.rlhf, "gold": gold_signal(recipe), "pretraining": inherited(recipe.pretraining)},
    tables=POLICY_TABLES,
    optional_tables={**POLICY_OPTIONAL_TABLES, "adversarial": Adversarial, "too_long": TooLong},
    libraries=("torch", "safetensors", "numpy"),
)  # fmt: skip
