"""`reward_checkpoint`: a model of preferences; with rankings by people, also a second one for the gold signal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import polars as pl

from llm_assets.artifacts import Artifact, Inputs, Stage, Step, View
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.tables import read_json_lines, read_table
from llm_assets.compute import RESULTS
from llm_assets.dialogue.splits import DEVELOPMENT, TEST, TRAIN
from llm_assets.evaluation.intervals import Estimate, mean
from llm_assets.model import REWARD_SCALE
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import HumanRankings, PairTraining, RewardTraining
from llm_assets.recipes.pretraining import Rates
from llm_assets.report import plots
from llm_assets.training.division import Demand, share_out, training_kind
from llm_assets.training.plan import TrainingPlan, every
from llm_assets.training.schemas import TrainingCurve
from llm_assets.training.training_run import (
    MODEL_FILES,
    add_files,
    follow,
    loss_series,
    optimisation,
)

from .jobs import RewardJob
from .labelling_rule import count_new_facts
from .policy import without_rlhf
from .response_pairs import PreferenceError
from .schemas import RewardEvaluations, RewardScores

MODULE = "llm_assets.preference.reward_checkpoint_process"
GOLD = "gold"  # folder of the second model, in the artifact
GoldSignal = Literal[
    "rule", "model"
]  # what the gold signal is; the rule uses the ground truth of a corpus that has one
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
            "subject": row["subject"],
            "preferred": row[row["preferred"]],
            "other": row["second" if row["preferred"] == "first" else "first"],
            "labeller": row["labeller"],
        }
        for row in rows.iter_rows(named=True)
    ]


@dataclass(frozen=True)
class Measured:
    """What a reward model is measured on.

    development, test: rankings without ties, as `preference_rows` returns them. rankings: all rankings of the test,
    with ties.
    """

    development: Sequence[Mapping[str, Any]]
    test: Sequence[Mapping[str, Any]]
    rankings: Sequence[Mapping[str, Any]]


def orders(
    scored: Sequence[Mapping[str, Any]], rankings: Sequence[Mapping[str, Any]], model: str = "reward model"
) -> dict[str, Estimate]:
    """How often the model that gave the margins, and rules that cost nothing, order the test pairs as the labeller did.

    Where a rule does not prefer an answer, it counts half. If two labellers ranked some pairs, the share of untied
    pairs that another labeller orders likewise comes next, and the ceiling that this noise leaves (`noise_ceiling`).
    Intervals are bootstrapped over subjects, since the pairs of one subject share answers.

    scored: test pairs with their margins. rankings: all rankings of the test. model: its name in the result.
    """
    rules = {
        model: [row["margin"] for row in scored],
        "longer answer": [len(row["preferred"]) - len(row["other"]) for row in scored],
        "more facts": [
            count_new_facts(row["question"], row["subject"], row["preferred"])
            - count_new_facts(row["question"], row["subject"], row["other"])
            for row in scored
        ],
    }
    if not scored:
        return {}
    subjects = [row["subject"] or row["question"] for row in scored]
    shares = {
        rule: mean([0.5 if margin == 0 else float(margin > 0) for margin in margins], subjects)
        for rule, margins in rules.items()
    }
    by_pair: dict[str, list[Mapping[str, Any]]] = {}
    for row in rankings:
        by_pair.setdefault(row["pair"], []).append(row)
    untied = [
        (first, second)
        for of_pair in by_pair.values()
        for first, second in combinations(of_pair, 2)
        if "tie" not in (first["preferred"], second["preferred"])
    ]
    if untied:
        agreed = [float(first["preferred"] == second["preferred"]) for first, second in untied]
        agreement = mean(agreed, [first["subject"] or first["question"] for first, _ in untied])
        shares["another labeller"] = agreement
        shares["ceiling"] = Estimate(*map(noise_ceiling, agreement[:3]), agreement.n)
    return shares


def noise_ceiling(agreement: float) -> float:
    """The largest share of pairs that any model can order as a labeller does, if two labellers agree on this share.

    If a labeller prefers the better answer of a pair with probability (1 + q) / 2, two of them agree with probability
    (1 + q²) / 2, and the best model is right with (1 + q) / 2. Over all pairs the mean of q is at most the square root
    of the mean of q².
    """
    return (1 + math.sqrt(max(2 * agreement - 1, 0.0))) / 2


def rounded(estimate: Estimate) -> dict[str, float]:
    return {name: round(value, 4) for name, value in estimate._asdict().items()}


def fit(
    step: Step,
    config: RewardCheckpointConfig,
    name: str,
    training: Sequence[Mapping[str, Any]],
    measured: Measured,
) -> None:
    """One task: a reward model fitted to `training`, with its files in the folder `name` of the artifact ("" is its
    root).
    """
    sft, settings = step.input("sft_checkpoint"), config.training
    folder = step.staging / f"training-{name or 'reward'}"
    steps = max(1, round(settings.epochs * len(training) / settings.pairs))
    ends = _train(step, config, folder, steps, training, measured)
    results = json.loads((folder / RESULTS).read_text())
    last = max(folder.glob("step-*"))
    with step.task(name or "reward") as task:
        add_files(step, task, MODEL_FILES, last, sft, under=name)
        place = f"{name}/{REWARD_SCALE}" if name else REWARD_SCALE
        scale = {"mean": results["mean"], "standard_deviation": results["standard_deviation"]}
        write_atomic(step.staging / place, json.dumps(scale, indent=1).encode())
        task.add_file(place)
        margins = zip(results["measured"], results["margins"], strict=True)
        scored = [{**measured.test[number], "margin": margin} for number, margin in margins]
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
        task.stats.update(numbers, test=len(scored), final_loss=final_loss)
        task.stats["orders"] = {name: rounded(value) for name, value in orders(scored, measured.rankings).items()}
        if not ends.get("resumed"):
            task.stats["actual"] = {"seconds": ends["seconds"], "cpu_seconds": ends["cpu_seconds"]}


def training_plan(settings: PairTraining, rates: Rates, shape: ModelShape, steps: int) -> tuple[TrainingPlan, int]:
    """The plan of a training run on pairs, and the number of processes. A sequence is an answer, two per pair."""
    answers = 2 * settings.pairs
    rates_of_stage = optimisation(settings, rates, shape, settings.learning_rate_scale)
    kind = training_kind(rates_of_stage, False)
    division = share_out(Demand(shape, answers, settings.compute, kind, MICRO_BATCH_SIZE))
    plan = TrainingPlan(
        steps=steps,
        batch_size=answers,
        micro_batch_size=max(2, division.micro_batch_size),
        seed=settings.seed,
        optimisation=rates_of_stage,
        validate_every=every(steps, settings.validation_runs),
        checkpoint_every=settings.compute.checkpoint_every or max(10, steps // 4),
        checkpoints_kept=settings.compute.checkpoints_kept,
        savings=division.kind.savings,
    )
    return plan, division.processes


def _train(
    step: Step,
    config: RewardCheckpointConfig,
    folder: Path,
    steps: int,
    training: Sequence[Mapping[str, Any]],
    measured: Measured,
) -> dict[str, Any]:
    """Fit one reward model in a separate process in `folder`; returns what `follow` returns."""
    sft, settings = step.input("sft_checkpoint"), config.training
    shape = ModelShape.load(sft.file("shape.json").read_text(), "sft_checkpoint")
    if len(training) < settings.pairs:
        raise PreferenceError(
            f"reward_checkpoint: {len(training)} rankings to train on are fewer than the {settings.pairs} of one step; "
            "rank more pairs, or lower reward_training.pairs"
        )
    plan, processes = training_plan(settings, config.rates, shape, steps)
    train, development, test = (
        tuple((row["question"], row["preferred"], row["other"]) for row in side)
        for side in (training, measured.development, measured.test)
    )
    job = RewardJob(
        plan=plan,
        checkpoint=str(sft.path),
        train=train,
        development=development,
        test=test,
        device=settings.compute.device,
    )
    return follow(step, MODULE, job, folder, processes)


def build_reward_checkpoint(step: Step, config: RewardCheckpointConfig) -> None:
    """One task, or two if the gold signal is a model."""
    rankings = read_table(step.input("human_rankings").table("rankings"))
    test = rankings.filter(pl.col("split") == TEST)
    measured = Measured(preference_rows(rankings, [DEVELOPMENT]), preference_rows(test, [TEST]), test.to_dicts())
    if not measured.test:
        raise PreferenceError("reward_checkpoint: no ranking is about a subject of the test split; rank more pairs")
    if config.gold == MODEL and step.finished_task(GOLD) is None:
        fit(step, config, GOLD, preference_rows(rankings, [GOLD]), measured)
    fit(step, config, "", preference_rows(rankings, [TRAIN]), measured)


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
    """Test pairs with their margins; empty if all were too long for the model."""
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
        lines = ["| orders the test pairs as the labellers did | share | 95 % interval | pairs |", "|---|--:|--:|--:|"]
        for name, order in stats["orders"].items():
            interval = f"{100 * order['low']:.1f} to {100 * order['high']:.1f} %"
            lines.append(f"| {name} | {100 * order['value']:.1f} % | {interval} | {order['n']:,} |")
        shown["accuracy"] = "\n".join(lines)
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
    code_version="5",
    inputs=("sft_checkpoint", "human_rankings"),
    left_out=without_rlhf,
    tables={"curve": TrainingCurve},
    optional_tables={"evaluations": RewardEvaluations, "scores": RewardScores},
    views=(View(PLOT, draw_calibration),),
    show=show,
    libraries=("torch", "safetensors", "numpy"),
    pool="gpu",
)
