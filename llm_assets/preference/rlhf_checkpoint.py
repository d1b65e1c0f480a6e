"""`rlhf_checkpoint`: the policy tuned to the reward model; the weights at the peak of the gold signal are kept."""

from __future__ import annotations

from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Inputs, Stage, Step, View
from llm_assets.artifacts.tables import read_json_lines, read_table
from llm_assets.dialogue.rendering import write_replay
from llm_assets.dialogue.schemas import TooLong
from llm_assets.dialogue.splits import DEVELOPMENT, TRAIN
from llm_assets.evaluation.ground_truth import GroundTruth
from llm_assets.model.encoding import Encoding
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import Rlhf
from llm_assets.recipes.pretraining import Rates
from llm_assets.report import plots
from llm_assets.sample_web.ground_truth import read_truth
from llm_assets.training.policy_run import (
    CURVES_VIEW,
    POLICY_OPTIONAL_TABLES,
    POLICY_TABLES,
    keep_policy,
    monitor_series,
    policy_plan,
    show_policy,
)
from llm_assets.training.training_run import follow

from .jobs import PromptRow, RlhfJob
from .policy import POLICY, SUBSTITUTES, policy_of
from .response_pairs import pair_digest
from .reward_checkpoint import GOLD, RULE, GoldSignal, gold_signal
from .schemas import Adversarial

MODULE = "llm_assets.preference.rlhf_checkpoint_process"
MONITOR = "monitor.svg"
TRUTH = "truth"  # the labelling rule with the facts looked up, as the gold signal of a job


class RlhfCheckpointConfig(Frozen):
    """How the policy is tuned and when it is stopped. gold: the signal of the over-optimisation monitor."""

    rlhf: Rlhf
    rates: Rates
    gold: GoldSignal


def read_prompts(artifact: Artifact, split: str) -> list[PromptRow]:
    """The open prompts of one split, in order."""
    frame = read_table(artifact.table("prompts")).filter(pl.col("split") == split).sort("prompt")
    return [PromptRow(*row) for row in frame.select("prompt", "question", "subject", "subject_exists").iter_rows()]


def gold_job(gold: GoldSignal, reward: Artifact, truth: GroundTruth | None) -> str:
    """The gold signal of a job: ``rule``, ``truth`` for a corpus with ground truth, or a reward model's folder."""
    if gold != RULE:
        return str(reward.path / GOLD)
    return RULE if truth is None else TRUTH


def build_rlhf_checkpoint(step: Step, config: RlhfCheckpointConfig) -> None:
    """Tune the policy in a separate process, and keep its best weights as one task."""
    settings, policy = config.rlhf, policy_of(step.inputs)
    reward, pairs = step.input("reward_checkpoint"), step.input("response_pairs")
    shape = ModelShape.load(policy.file("shape.json").read_text(), policy.record.asset)
    plan, processes = policy_plan(settings, config.rates, shape)
    truth = read_truth(step.inputs)
    replay = None
    if settings.replay_weight:
        encoding, needed = Encoding.load(policy.path), plan.steps * plan.minibatches * plan.replay_sequences
        replay = write_replay(step, step.input("conversations"), encoding, shape.context, needed, settings.seed)
    job = RlhfJob(
        plan=plan,
        checkpoint=str(policy.path),
        reward=str(reward.path),
        gold=gold_job(config.gold, reward, truth),
        truth=truth,
        conversations=replay,
        train=tuple(read_prompts(pairs, TRAIN)),
        monitor=tuple(read_prompts(pairs, DEVELOPMENT)[: settings.monitor_prompts]),
        unfinished_reward=settings.unfinished_reward,
        monitor_patience=settings.monitor_patience,
        monitor_margin=settings.monitor_margin,
        adversarial=settings.adversarial,
        device=settings.compute.device,
    )
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.task("checkpoint") as task:
        events = keep_policy(step, task, folder, policy, ends)
        if events["row"]:
            rows = [{"pair": pair_digest(row["question"], row["first"], row["second"]), **row} for row in events["row"]]
            task.table("adversarial", Adversarial).frame(pl.DataFrame(rows))
        evaluations = against_kl(
            events["evaluation"], read_json_lines(folder / "curve.jsonl", infer_schema_length=None)
        )
        task.stats["monitor"] = {
            str(evaluation["step"]): {name: evaluation[name] for name in ("proxy", "gold", "kl")}
            for evaluation in evaluations
        }


def against_kl(evaluations: list[dict[str, Any]], curve: pl.DataFrame) -> list[dict[str, Any]]:
    """Evaluations with the divergence of the steps before them: the mean of the last five; 0 before the first step."""
    return [
        {
            **evaluation,
            "kl": round(float(curve.filter(pl.col("step") < evaluation["step"]).tail(5)["kl"].mean() or 0.0), 6),
        }
        for evaluation in evaluations
    ]  # type: ignore[arg-type]


def monitor_evaluations(artifact: Artifact) -> list[dict[str, Any]]:
    """The monitor's evaluations in order: step, reward model's score (``proxy``), gold signal, divergence."""
    evaluations = [{"step": int(step), **values} for step, values in artifact.record.stats["monitor"].items()]
    return sorted(evaluations, key=lambda evaluation: evaluation["step"])


def draw_monitor(artifact: Artifact, inputs: Inputs, config: RlhfCheckpointConfig) -> str:
    """The reward model's score and the gold signal by divergence, as SVG."""
    x, y = "divergence from the initial policy, nats per token", "standard deviations at the start"
    return plots.svg(monitor_series(monitor_evaluations(artifact)), x, y, marks=True)


def show(artifact: Artifact) -> dict[str, str]:
    """The training and the monitor's evaluations in Markdown, for the asset's page in Dagster."""
    evaluations = monitor_evaluations(artifact)
    lines = ["| step | KL | reward model | gold signal |", "|--:|--:|--:|--:|"]
    lines += [f"| {row['step']} | {row['kl']:.4f} | {row['proxy']:.3f} | {row['gold']:.3f} |" for row in evaluations]
    curve = plots.png(monitor_series(evaluations), "divergence, nats per token", "standard deviations", marks=True)
    return {**show_policy(artifact), "monitor_table": "\n".join(lines), "monitor_curve": plots.markdown(curve)}


RLHF_CHECKPOINT = Stage(
    name="rlhf_checkpoint",
    group="preference",
    description="The policy tuned to the reward model, and stopped once the gold signal no longer follows. Resumes "
    "from its last checkpoint.",
    kinds=("pytorch", "safetensors"),
    build=build_rlhf_checkpoint,
    config=lambda recipe, crawl: RlhfCheckpointConfig(
        rlhf=recipe.rlhf, rates=recipe.pretraining.inherited(), gold=gold_signal(recipe.human_rankings)
    ),
    code_version="5",
    inputs=(POLICY, "reward_checkpoint", "response_pairs", "conversations", "raw_warc"),
    optional_inputs=("raw_warc",),
    substitutes=SUBSTITUTES,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables=POLICY_TABLES,
    optional_tables={**POLICY_OPTIONAL_TABLES, "adversarial": Adversarial, "too_long": TooLong},
    views=(CURVES_VIEW, View(MONITOR, draw_monitor)),
    show=show,
    libraries=("torch", "safetensors", "numpy"),
    pool="gpu",
)
