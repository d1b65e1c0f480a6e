"""`reward_checkpoint`: a model of preferences; with rankings by people, also a second one for the gold signal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from llm_assets.artifacts import Artifact, Inputs, Stage, Step, View
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.tables import read_json_lines, read_table
from llm_assets.compute import RESULTS
from llm_assets.model import REWARD_SCALE
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import HumanRankings, RewardTraining
from llm_assets.recipes.pretraining import Rates
from llm_assets.report import plots
from llm_assets.training.plan import TrainingPlan, every
from llm_assets.training.schemas import TrainingCurve
from llm_assets.training.training_run import (
    MODEL_FILES,
    add_files,
    follow,
    loss_series,
    optimisation,
    share_out,
)

from .jobs import RewardJob
from .response_pairs import PreferenceError
from .schemas import RewardEvaluations, RewardScores

MODULE = "llm_assets.preference.reward_checkpoint_process"
GOLD = "gold"  # folder of the second model, in the artifact
GoldSignal = Literal["rule", "model"]  # what the gold signal is
RULE: GoldSignal = "rule"
MODEL: GoldSignal = "model"
PLOT = "calibration.svg"
BINS = 8
MICRO_BATCH_SIZE = 32  # answers per forward and backward pass, if the recipe sets none


class RewardCheckpointConfig(Frozen):
    """How the reward model is fitted. gold: ``model`` fits a second one, to the rankings that are held out for it."""

    training: RewardTraining
    rates: Rates
    gold: GoldSignal


def preference_rows(rankings: pl.DataFrame, splits: Sequence[str]) -> list[dict[str, Any]]:
    """Rankings of these splits, without ties, as preferred and other answer."""
    rows = rankings.filter(pl.col("split").is_in(list(splits)) & (pl.col("preferred") != "tie")).sort(
        "pair", "labeller"
    )
    return [
        {
            "pair": row["pair"],
            "question": row["question"],
            "preferred": row[row["preferred"]],
            "other": row["second" if row["preferred"] == "first" else "first"],
            "labeller": row["labeller"],
        }
        for row in rows.iter_rows(named=True)
    ]


def fit(
    step: Step,
    config: RewardCheckpointConfig,
    name: str,
    training: Sequence[Mapping[str, Any]],
    held_out: Sequence[Mapping[str, Any]],
) -> None:
    """One task: a reward model fitted to `training`, with its files in the folder `name` of the artifact ("" is its
    root).
    """
    sft, settings = step.input("sft_checkpoint"), config.training
    folder = step.staging / f"training-{name or 'reward'}"
    steps = max(1, round(settings.epochs * len(training) / settings.pairs))
    ends = _train(step, config, folder, steps, training, held_out)
    results = json.loads((folder / RESULTS).read_text())
    last = max(folder.glob("step-*"))
    with step.task(name or "reward") as task:
        add_files(step, task, MODEL_FILES, last, sft, under=name)
        place = f"{name}/{REWARD_SCALE}" if name else REWARD_SCALE
        scale = {"mean": results["mean"], "standard_deviation": results["standard_deviation"]}
        write_atomic(step.staging / place, json.dumps(scale, indent=1).encode())
        task.add_file(place)
        margins = zip(results["measured"], results["margins"], strict=True)
        scored = [{**held_out[number], "margin": margin} for number, margin in margins]
        numbers: dict[str, Any] = {"rankings": len(training), "steps": steps, "too_long": results["too_long"]}
        if scored:
            numbers["accuracy"] = round(sum(row["margin"] > 0 for row in scored) / len(scored), 4)
        if name:
            task.stats[name] = numbers
            return
        curve = read_json_lines(folder / "curve.jsonl")
        task.table("curve", TrainingCurve).frame(curve)
        events = json.loads((last / "state.json").read_text())["values"]["events"]
        if evaluations := [event for event in events if event["kind"] == "validation"]:
            task.table("evaluations", RewardEvaluations).frame(pl.DataFrame(evaluations))
        if scored:
            task.table("scores", RewardScores).frame(pl.DataFrame(scored))
        final_loss = round(float(curve["loss"].tail(10).mean()), 4)  # type: ignore[arg-type]
        task.stats.update(numbers, held_out=len(scored), final_loss=final_loss)
        if not ends.get("resumed"):
            task.stats["actual"] = {"seconds": ends["seconds"], "cpu_seconds": ends["cpu_seconds"]}


def training_plan(config: RewardCheckpointConfig, shape: ModelShape, steps: int) -> tuple[TrainingPlan, int]:
    """The plan of a reward model's training, and the number of processes. A sequence is an answer, two per pair."""
    settings = config.training
    answers = 2 * settings.pairs
    processes, micro_batch_size, _ = share_out(shape, answers, settings.compute, MICRO_BATCH_SIZE)
    plan = TrainingPlan(
        steps=steps,
        batch_size=answers,
        micro_batch_size=micro_batch_size,
        seed=settings.seed,
        optimisation=optimisation(settings, config.rates, shape, settings.learning_rate_scale),
        validate_every=every(steps, settings.validation_runs),
        checkpoint_every=settings.compute.checkpoint_every or max(10, steps // 4),
        checkpoints_kept=settings.compute.checkpoints_kept,
    )
    return plan, processes


def _train(
    step: Step,
    config: RewardCheckpointConfig,
    folder: Path,
    steps: int,
    training: Sequence[Mapping[str, Any]],
    held_out: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Fit one reward model in a separate process in `folder`; returns what `follow` returns."""
    sft, settings = step.input("sft_checkpoint"), config.training
    shape = ModelShape.load(sft.file("shape.json").read_text(), "sft_checkpoint")
    if len(training) < settings.pairs:
        raise PreferenceError(
            f"reward_checkpoint: {len(training)} rankings to train on are fewer than the {settings.pairs} of one step; "
            "rank more pairs, or lower reward_training.pairs"
        )
    plan, processes = training_plan(config, shape, steps)
    train, measured = (
        tuple((row["question"], row["preferred"], row["other"]) for row in side) for side in (training, held_out)
    )
    job = RewardJob(plan=plan, checkpoint=str(sft.path), train=train, held_out=measured, device=settings.compute.device)
    return follow(step, MODULE, job, folder, processes)


def build_reward_checkpoint(step: Step, config: RewardCheckpointConfig) -> None:
    """One task, or two if the gold signal is a model."""
    rankings = read_table(step.input("human_rankings").table("rankings"))
    held_out = preference_rows(rankings, ["held_out"])
    if not held_out:
        raise PreferenceError(
            "reward_checkpoint: no ranking is held out; rank more pairs, or raise human_rankings.held_out"
        )
    if config.gold == MODEL and step.finished_task(GOLD) is None:
        fit(step, config, GOLD, preference_rows(rankings, ["gold"]), held_out)
    fit(step, config, "", preference_rows(rankings, ["train"]), held_out)


def gold_signal(rankings: HumanRankings) -> GoldSignal:
    """The signal that the over-optimisation monitor trusts.

    It is the simulated labeller's rule, or a second reward model, fitted to rankings by people that are held out for
    it.
    """
    return RULE if rankings.simulated is not None else MODEL


def reliability(scored: Sequence[Mapping[str, Any]]) -> dict[str, plots.Series]:
    """Predicted and observed probability that the first of two answers is preferred, by bins of the prediction.

    Each pair counts in both orders, so that the curve is symmetric about one half.
    """
    predicted = [(1 / (1 + math.exp(-row["margin"])), 1.0) for row in scored]
    predicted += [(1 - chance, 0.0) for chance, _ in predicted]
    bins: dict[int, list[tuple[float, float]]] = {}
    for chance, observed in predicted:
        bins.setdefault(min(int(chance * BINS), BINS - 1), []).append((chance, observed))
    means = [
        tuple(sum(values) / len(values) for values in zip(*in_bin, strict=True)) for _, in_bin in sorted(bins.items())
    ]
    return {
        "reward model": ([x for x, _ in means], [y for _, y in means]),
        "perfect calibration": ([0.0, 1.0], [0.0, 1.0]),
    }


def read_scores(artifact: Artifact) -> list[dict[str, Any]]:
    """Held-out pairs with their margins; empty if all were too long for the model."""
    files = artifact.table("scores")
    return read_table(files).to_dicts() if files else []


def draw_calibration(artifact: Artifact, inputs: Inputs, config: RewardCheckpointConfig) -> str:
    """How often an answer was preferred, by the probability that the model predicted for it."""
    x, y = "predicted probability of the first answer", "share that preferred it"
    return plots.svg(reliability(read_scores(artifact)), x, y, marks=True)


def show(artifact: Artifact) -> dict[str, str]:
    """Loss, accuracy and calibration in Markdown, for the asset's page in Dagster."""
    stats, curve = artifact.record.stats, read_table(artifact.table("curve"))
    shown = {"loss_curve": plots.markdown(plots.png(loss_series(curve), "step", "loss, nats per pair"))}
    if scored := read_scores(artifact):
        share = f"{100 * stats['accuracy']:.1f} % of {stats['held_out']:,} held-out pairs"
        shown["accuracy"] = f"{share} are ordered as by the labellers."
        calibration = plots.png(reliability(scored), "predicted", "observed", marks=True)
        shown["calibration_curve"] = plots.markdown(calibration)
    return shown


REWARD_CHECKPOINT = Stage(
    name="reward_checkpoint",
    group="preference",
    description="The SFT model with a head that gives a score, fitted to rankings (Bradley-Terry). Resumes from its "
    "last checkpoint.",
    kinds=("pytorch", "safetensors"),
    build=build_reward_checkpoint,
    config=lambda recipe, crawl: RewardCheckpointConfig(
        training=recipe.reward_training, rates=recipe.pretraining.inherited(), gold=gold_signal(recipe.human_rankings)
    ),
    code_version="4",
    inputs=("sft_checkpoint", "human_rankings"),
    tables={"curve": TrainingCurve},
    optional_tables={"evaluations": RewardEvaluations, "scores": RewardScores},
    views=(View(PLOT, draw_calibration),),
    show=show,
    libraries=("torch", "safetensors", "numpy"),
    pool="gpu",
)
